/** Signed horizontal bars on one scale, as rows of text and boxes: they need no measuring. */
import { ticks } from "d3-array";
import { bdi, h } from "../dom.js";
import { brief, formatter, hue } from "../numbers.js";
import { roughWidth } from "../text.js";

/**
 * @typedef {object} Bar
 * @property {string} label as shown
 * @property {string} [name] as read aloud, when it differs
 * @property {string} [before] a small text before the label (a class letter, a position)
 * @property {string} [group]
 * @property {number} value
 * @property {number} [low]
 * @property {number} [high]
 * @property {string} [share]
 */

/**
 * @param {Bar[]} bars
 * @returns {[number, number]} the interval to draw, with zero in it
 */
export function extent(bars) {
  const ends = bars.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]);
  const finite = ends.filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...finite), Math.max(0, ...finite)];
  return low === high ? [0, 1] : [low, high];
}

/**
 * @param {Bar} bar
 * @param {(value: number) => number} at share of the track, 0 to 100
 * @param {import("../spec").Colours} colours
 */
function track({ value, low, high }, at, colours) {
  const zero = h("i", { class: "fv-zero" });
  zero.style.left = `${at(0)}%`;
  const box = h("div", { class: "fv-track" }, zero);
  if (Number.isFinite(value)) {
    const fill = h("i", { class: `fv-fill${value < 0 ? " fv-minus" : ""}` });
    fill.style.left = `${at(Math.min(0, value))}%`;
    fill.style.width = `${Math.abs(at(value) - at(0))}%`;
    fill.style.backgroundColor = hue(value, colours, colours.max_opacity);
    box.append(fill);
  }
  if (low !== undefined && high !== undefined && Number.isFinite(low) && Number.isFinite(high)) {
    const whisker = h("i", { class: "fv-whisker" });
    whisker.style.left = `${at(low)}%`;
    whisker.style.width = `${at(high) - at(low)}%`;
    box.append(whisker);
  }
  return box;
}

/**
 * The numbers under the bars.
 * @param {[number, number]} ends
 * @param {(value: number) => number} at
 * @param {string} unit
 */
function axis([low, high], at, unit) {
  const marks = ticks(low, high, 4).map((value) => {
    const mark = h("span", { class: "fv-tick" }, brief(value));
    mark.style.left = `${at(value)}%`;
    return mark;
  });
  return h("div", { class: "fv-track fv-axis", title: unit }, ...marks);
}

/**
 * @param {Bar[]} bars
 * @param {object} options
 * @param {string} options.title as read aloud
 * @param {string} options.unit
 * @param {import("../spec").Colours} options.colours
 * @param {(value: number) => string} [options.write]
 * @param {boolean} [options.choosable] whether bars can be chosen (a list box) or only read (a list)
 * @returns {{node: HTMLElement, rows: HTMLElement[]}}
 */
export function barList(bars, { title, unit, colours, write, choosable = false }) {
  const ends = extent(bars);
  const at = (/** @type {number} */ value) =>
    Math.round(((value - ends[0]) / (ends[1] - ends[0])) * 1e4) / 100;
  const text = write ?? formatter(Math.max(...ends.map(Math.abs)));
  const has = (/** @type {"before" | "group" | "share"} */ part) => bars.some((bar) => bar[part]);
  const parts = { before: has("before"), group: has("group"), share: has("share") };

  /** @param {Bar} bar */
  const spoken = ({ label, name, group, value, low, high, share }) => {
    const range =
      low === undefined || high === undefined ? "" : `, from ${text(low)} to ${text(high)}`;
    const amount = Number.isNaN(value) ? "no value" : `${text(value)} ${unit}`.trim();
    return `${name ?? label}${group ? ` (${group})` : ""}: ${amount}${range}${share ? `, ${share}` : ""}`;
  };

  const rows = bars.map((bar) => {
    const value = h(
      "span",
      { class: "fv-value" },
      Number.isNaN(bar.value) ? "n/a" : text(bar.value),
    );
    return h(
      "div",
      { class: "fv-bar", role: choosable ? "option" : "listitem", "aria-label": spoken(bar) },
      parts.before && h("span", { class: "fv-before" }, bdi(bar.before ?? "")),
      h("span", { class: "fv-label", title: bar.label }, bdi(bar.label)),
      parts.group && h("span", { class: "fv-group" }, bdi(bar.group ?? "")),
      track(bar, at, colours),
      value,
      parts.share && h("span", { class: "fv-share" }, bar.share ?? ""),
    );
  });
  const foot = h(
    "div",
    { class: "fv-bar fv-barfoot", "aria-hidden": "true" },
    parts.before && h("span", { class: "fv-before" }),
    h("span", { class: "fv-label" }),
    parts.group && h("span", { class: "fv-group" }),
    axis(ends, at, unit),
    h("span", { class: "fv-value" }, unit),
    parts.share && h("span", { class: "fv-share" }, "share"),
  );
  const list = h("div", { role: choosable ? "listbox" : "list", "aria-label": title }, ...rows);
  const node = h("div", { class: "fv-bars" }, list, foot);
  const longest = bars.reduce((most, { label }) => Math.max(most, roughWidth(label)), 0);
  node.style.setProperty("--fv-longest", `${Math.min(longest + 0.6, 16).toFixed(1)}em`);
  return { node, rows };
}
