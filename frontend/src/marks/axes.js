/** A plot's frame: scales, ticks, faint grid, titles. Shared by lines and points. */
import { extent, ticks } from "d3-array";
import { h, svg } from "../dom.js";
import { brief } from "../numbers.js";
import { roughWidth } from "../text.js";

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at
 * @property {number[]} ticks
 */

/**
 * A linear scale whose domain is the data's with a little room.
 * @param {number[]} values
 * @param {[number, number]} range in pixels
 * @param {object} options
 * @param {number} options.count how many ticks, about
 * @param {number} [options.room] share of the domain added at both ends
 * @returns {Scale}
 */
export function scale(values, range, { count, room = 0 }) {
  let [low = 0, high = 1] = extent(values.filter(Number.isFinite));
  if (low === high)
    [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const extra = (high - low) * room;
  [low, high] = [low - extra, high + extra];
  const at = (/** @type {number} */ value) =>
    Math.round((range[0] + ((value - low) / (high - low)) * (range[1] - range[0])) * 10) / 10;
  return { at, ticks: ticks(low, high, count) };
}

/**
 * @typedef {object} Frame
 * @property {Scale} x
 * @property {Scale} y
 * @property {number} width
 * @property {number} height
 * @property {{left: number, right: number, top: number, bottom: number}} inner the plot's edges
 */

/**
 * @param {object} options
 * @param {number} options.width
 * @param {number} options.em
 * @param {number[]} options.xs
 * @param {number[]} options.ys
 * @param {number} [options.aside] room at the right for labels
 * @param {number} [options.room]
 * @returns {Frame}
 */
export function makeFrame({ width, em, xs, ys, aside = 0, room = 0.04 }) {
  const height = Math.round(Math.min(Math.max(width * 0.5, 15 * em), 24 * em));
  const bottom = height - 1.7 * em;
  const top = 0.8 * em;
  const y = scale(ys, [bottom, top], { count: 5, room });
  const labels = Math.max(...y.ticks.map((value) => roughWidth(brief(value))), 1);
  const left = Math.round((labels + 0.8) * em);
  const right = width - Math.max(aside, 0.8 * em);
  const count = Math.max(2, Math.round((right - left) / (5 * em)));
  const x = scale(xs, [left, right], { count, room });
  return { x, y, width, height, inner: { left, right, top, bottom } };
}

/**
 * The frame's drawing, under the data.
 * @param {Frame} frame
 * @param {number} em
 * @returns {SVGElement}
 */
export function drawFrame({ x, y, inner }, em) {
  const { left, right, top, bottom } = inner;
  const group = svg("g", { class: "fv-frame", "aria-hidden": "true" });
  for (const value of y.ticks) {
    const at = y.at(value);
    const line = {
      x1: left,
      x2: right,
      y1: at,
      y2: at,
      class: value === 0 ? "fv-axisline" : "fv-gridline",
    };
    const text = { x: left - 0.5 * em, y: at, dy: ".32em", "text-anchor": "end" };
    group.append(svg("line", line), svg("text", text, brief(value)));
  }
  for (const value of x.ticks) {
    const at = x.at(value);
    const line = { x1: at, x2: at, y1: bottom, y2: bottom + 4, class: "fv-axisline" };
    const text = { x: at, y: bottom + 1.3 * em, "text-anchor": "middle" };
    group.append(svg("line", line), svg("text", text, brief(value)));
    if (value === 0) group.append(svg("line", { ...line, y1: top, class: "fv-gridline" }));
  }
  group.append(svg("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "fv-axisline" }));
  return group;
}

/**
 * A plot between its two axis titles; `draw` paints it anew for every width.
 * @param {object} options
 * @param {string} options.name as read aloud
 * @param {string} options.yTitle
 * @param {string} options.xTitle
 * @param {Element | null} [options.legend]
 * @param {(width: number, em: number) => SVGElement} options.draw
 */
export function plot({ name, yTitle, xTitle, legend = null, draw }) {
  const area = h("div", { class: "fv-area", role: "group", "aria-label": name });
  const node = h(
    "div",
    { class: "fv-plot" },
    legend,
    h("div", { class: "fv-ytitle" }, yTitle),
    area,
    h("div", { class: "fv-xtitle" }, xTitle),
  );
  let painted = 0;
  return {
    node,
    area,
    layout() {
      const width = area.clientWidth || 640;
      if (width === painted) return;
      painted = width;
      const em = Number.parseFloat(getComputedStyle(area).fontSize) || 13;
      area.replaceChildren(draw(width, em));
    },
  };
}
