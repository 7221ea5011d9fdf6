/** The mark *bars*: signed values, with intervals where they are known. */
import { h } from "../dom.js";
import { plain, token } from "../text.js";
import { barList } from "./bar-list.js";
import { choosable } from "./choosable.js";
import { classLetter, classList } from "./classes.js";

/**
 * @param {import("../spec").BarsPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function bars({ title, unit, labels, keys, values, low, high, classes }, context) {
  const { read, colours, select } = context;
  const [at, lows, highs] = [values, low, high].map(read);
  const list = labels.map((label, i) => ({
    // A label that begins or ends with a space is a token.
    label: /^ | $/.test(label) ? token(label) : plain(label),
    name: plain(label),
    before: classLetter(classes?.[i]),
    value: at[i],
    low: lows[i],
    high: highs[i],
  }));
  const { node, rows } = barList(list, plain(title), plain(unit), colours, !!keys);
  return {
    node: h("", {}, classes && classList(classes), node),
    select: keys ? choosable(rows, "aria-selected", select) : undefined,
  };
}
