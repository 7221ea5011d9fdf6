/** Signed horizontal bars on one scale, as rows of text and boxes: they need no measuring. */
import { bdi, h } from "../dom.js";
import {
  brief,
  cellColour,
  finite,
  formatter,
  interval,
  largest,
  max,
  min,
  ticks,
} from "../numbers.js";
import { withUnit } from "../text.js";

/**
 * @typedef {object} Bar
 * @property {string} label as shown
 * @property {string} name as read aloud
 * @property {string} before a small text before the label (a class letter, a position)
 * @property {string} [group]
 * @property {number} value
 * @property {number} [low]
 * @property {number} [high]
 * @property {string} [share]
 */

/**
 * @param {Bar[]} bars
 * @param {string} title as read aloud
 * @param {string} unit
 * @param {import("../spec").Colours} colours
 * @param {boolean} [choosable] whether bars can be chosen (a list box) or only read (a list)
 * @returns {{node: HTMLElement, rows: HTMLElement[]}}
 */
export function barList(bars, title, unit, colours, choosable) {
  const all = bars
    .flatMap(({ value, low = value, high = value }) => [value, low, high])
    .filter(finite);
  const start = min(0, ...all);
  const width = max(0, ...all) - start || 1;
  // Shares, probabilities and ranks are never negative: a plus would only puzzle.
  const write = formatter(largest(all), start < 0 || unit === "logits");
  const at = (/** @type {number} */ value) => ((value - start) / width) * 100;
  /** @param {string} what @param {number} a @param {number} b @param {string} [more] */
  const box = (what, a, b, more = "") =>
    finite(a) && finite(b) && h(what, { style: `left:${at(a)}%;width:${at(b) - at(a)}%;${more}` });
  /** @param {Node} track @param {string[]} texts before, label, group, value, share */
  const columns = (track, [before, label, group, value, share]) => [
    h("span.dim", {}, bdi(before)),
    h("span.label", {}, bdi(label)),
    h("span.group.dim", {}, bdi(group)),
    track,
    h("span", {}, value),
    h("span.dim", {}, share),
  ];

  const rows = bars.map(({ before, label, name, group = "", value, low, high, share = "" }) => {
    const ends = /** @type {[number, number]} */ ([low, high]);
    const range = interval(ends, write);
    const amount = withUnit(write(value), unit);
    const place = group && ` (${group})`;
    const words = `${name}${place}: ${[amount, range, share].filter(Boolean).join(", ")}`;
    const attributes = {
      role: choosable ? "option" : "listitem",
      label: words,
      tip: words,
    };
    const colour = `background-color:${cellColour(value < 0 ? -1 : 1, 1, colours)}`;
    const track = h(
      ".track",
      {},
      box("i.zero", 0, 0),
      box("i.fill", min(0, value), max(0, value), colour),
      box("i.whisker", ...ends),
    );
    return h(".bar", attributes, ...columns(track, [before, label, group, write(value), share]));
  });

  const marks = ticks(start, start + width, 4).map((value) =>
    h("span.dim", { style: `left:${at(value)}%` }, brief(value)),
  );
  const axis = columns(h(".track.axis", {}, ...marks), [
    "",
    "",
    "",
    unit,
    bars.some(({ share }) => share) ? "share" : "",
  ]);
  const foot = h(".bar", { "aria-hidden": true }, ...axis);
  const role = choosable ? "listbox" : "list";
  const node = h(".bars", { role, label: title }, ...rows, foot);
  return { node, rows };
}
