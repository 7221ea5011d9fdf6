/** A whole figure: its words, its panels, and the one selection they share. */
import { reader } from "./arrays.js";
import { bdi, dropDown, h } from "./dom.js";
import { keepKeys } from "./keys.js";
import { bars } from "./marks/bars.js";
import { lines } from "./marks/lines.js";
import { matrix } from "./marks/matrix.js";
import { points } from "./marks/points.js";
import style from "./style.css";
import { plain } from "./text.js";
import { makeTip } from "./tip.js";

/** @type {Record<string, (panel: any, context: import("./spec").Context) => import("./spec").View>} */
const PAINTERS = { matrix, bars, lines, points };

/** @typedef {import("./spec").Selection | null} Selected */

/**
 * Paints a figure into `root`.
 * @param {HTMLElement} root
 * @param {{spec: import("./spec").Spec, arrays: import("./spec").ArrayInfo[], bytes: ArrayBufferView}} figure
 * @param {(selection: Selected) => void} [onSelect]
 * @returns {{show: (selection: Selected) => void, stop: () => void}} shows a selection made
 * elsewhere; takes the figure away
 */
export function paintFigure(root, { spec, arrays, bytes }, onSelect) {
  if (spec.version !== 1) throw new Error(`cannot read figure format ${spec.version}`);
  const { choose, colours } = spec;
  const panels = h();
  const read = reader(arrays, bytes);
  /** @type {import("./spec").View[]} */
  let views = [];
  /** @type {Selected} */
  let selection = null;

  /** @param {Selected} next */
  function show(next) {
    selection = next;
    for (const [i, view] of views.entries()) view.select(next?.panel === i ? next.row : null);
  }

  /** @param {Selected} next */
  function select(next) {
    show(next);
    onSelect?.(next);
  }

  /** @param {any} panel @param {number} i */
  function paintPanel(panel, i) {
    const paint = PAINTERS[panel.mark];
    if (!paint) throw new Error(`unknown mark "${panel.mark}"`);
    const { keys } = panel.rows ?? panel;
    const choosing = (/** @type {number | null} */ row) =>
      select(row === null ? null : { panel: i, row, key: keys?.[row] ?? null });
    return paint(panel, { colours, read, tip, select: choosing });
  }

  const layout = () => {
    for (const view of views) view.layout();
  };

  /** @param {number} option */
  function paint(option) {
    const list = spec.panels[option];
    views = list.map(paintPanel);
    const heading = { role: "heading", "aria-level": 4 };
    panels.replaceChildren(
      ...views.map(({ node }, i) => {
        return h(".panel", {}, words("", list[i].title, heading), node);
      }),
    );
    show(selection);
  }

  /** @param {string} what @param {unknown} text @param {import("./dom.js").Attributes} [more] */
  const words = (what, text, more) => (text ? h(what, more, bdi(plain(text))) : null);
  /** @param {number} option */
  const choosing = (option) => {
    paint(option);
    layout();
  };
  const frame = h(
    ".root",
    {},
    h("style", {}, style),
    words(".title", spec.title, { role: "heading", "aria-level": 3 }),
    words(".dim", spec.subtitle),
    choose &&
      h(".tools", {}, dropDown(plain(choose.label), choose.options.map(plain), 0, choosing)),
    panels,
    ...[...(spec.notes ?? []), spec.caption].map((text) => words("p.dim", text)),
  );
  const tip = makeTip(frame);
  paint(0);
  root.append(frame);
  layout();
  keepKeys(frame, () => {
    const cleared = selection !== null;
    tip.hide();
    if (cleared) select(null);
    return cleared;
  });
  let width = 0;
  const observer = new ResizeObserver(() => {
    // Not for a change of height, which a layout itself may cause.
    if (frame.clientWidth !== width) layout();
    width = frame.clientWidth;
  });
  observer.observe(frame);
  const stop = () => {
    observer.disconnect();
    frame.remove();
  };
  return { show, stop };
}
