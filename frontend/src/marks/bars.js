/** The mark *bars*: signed values, with intervals where they are known. */
import { h } from "../dom.js";
import { formatter } from "../numbers.js";
import { plain, token } from "../text.js";
import { barList, extent } from "./bar-list.js";
import { choosable } from "./choosable.js";
import { classLetter, classList } from "./classes.js";

/**
 * @param {import("../spec").BarsPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function bars(panel, { colours, read, signal, select }) {
  const column = (/** @type {import("../spec").Ref | null | undefined} */ ref) =>
    ref ? read(ref).values : null;
  const values = read(panel.values).values;
  const [low, high] = [column(panel.low), column(panel.high)];
  const list = panel.labels.map((label, i) => ({
    label: /^\s|\s$/.test(label) ? token(label) : plain(label),
    name: plain(label),
    before: classLetter(panel.classes?.[i]),
    value: values[i],
    low: low?.[i],
    high: high?.[i],
  }));
  const title = plain(panel.title) || "bars";
  const unit = plain(panel.unit);
  const write = formatter(Math.max(...extent(list).map(Math.abs)));
  const options = { title, unit, colours, write, choosable: Boolean(panel.keys) };
  const { node, rows } = barList(list, options);
  if (!panel.keys) return { node: box(panel, node), select() {}, layout() {} };
  const show = choosable(rows, { signal, state: "aria-selected", onChoose: select });
  show(null);
  return { node: box(panel, node), select: show, layout() {} };
}

/**
 * @param {import("../spec").BarsPanel} panel
 * @param {HTMLElement} list
 */
function box(panel, list) {
  const legend = panel.classes && classList(panel.classes);
  return h("div", { class: "fv-barbox" }, legend, list);
}
