/** A plot's frame: scales, ticks, faint grid, titles. Shared by lines and points. */
import { fontSize, h, svg } from "../dom.js";
import { brief, clamp, finite, ticks } from "../numbers.js";
import { roughWidth } from "../text.js";

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at
 * @property {number[]} ticks
 */

/**
 * A linear scale whose domain is the data's with a little room.
 * @param {number[]} values
 * @param {number} from in pixels
 * @param {number} to in pixels
 * @param {number} count how many ticks, about
 * @returns {Scale}
 */
export function scale(values, from, to, count) {
  const known = values.filter(finite);
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const room = (high - low) * 0.05 || Math.abs(low) / 2 || 1;
  [low, high] = [low - room, high + room];
  return {
    at: (value) => Math.round((from + ((value - low) / (high - low)) * (to - from)) * 10) / 10,
    ticks: ticks(low, high, count),
  };
}

/**
 * @typedef {object} Frame
 * @property {Scale} x
 * @property {Scale} y
 * @property {number} right the plot's edges, in pixels
 * @property {number} top
 * @property {number} bottom
 * @property {number} em the font size
 */

/** @param {Frame} frame @param {number} left */
function drawFrame({ x, y, right, top, bottom, em }, left) {
  let faint = "";
  let strong = `M${left} ${bottom}H${right}`;
  /** @type {SVGElement[]} */
  const texts = [];
  /** @param {number} value @param {number} x @param {number} y @param {string} anchor */
  const write = (value, x, y, anchor) =>
    texts.push(svg("text", { x, y, "text-anchor": anchor }, brief(value)));
  for (const value of y.ticks) {
    const line = `M${left} ${y.at(value)}H${right}`;
    if (value) faint += line;
    else strong += line;
    write(value, left - em / 2, y.at(value), "end");
  }
  for (const value of x.ticks) {
    strong += `M${x.at(value)} ${bottom}v4`;
    if (!value) faint += `M${x.at(value)} ${top}V${bottom}`;
    write(value, x.at(value), bottom + em, "middle");
  }
  const lines = [svg("path.faint", { d: faint }), svg("path", { d: strong })];
  return svg("g.frame.dim", {}, ...lines, ...texts);
}

/**
 * A plot between its two axis titles, painted anew for every width.
 * @param {object} options
 * @param {string} options.name as read aloud
 * @param {string} options.xTitle
 * @param {string} options.yTitle
 * @param {number[]} options.xs
 * @param {number[]} options.ys
 * @param {Element | null} options.legend
 * @param {(frame: Frame) => Element[]} options.draw
 */
export function plot({ name, xTitle, yTitle, xs, ys, legend, draw }) {
  const area = h(".area", { role: "group", label: name });
  let painted = 0;
  return {
    area,
    node: h(".plot", {}, legend, h(".dim", {}, yTitle), area, h(".xtitle.dim", {}, xTitle)),
    layout() {
      const width = area.clientWidth || 640;
      if (width === painted) return;
      painted = width;
      const em = fontSize(area);
      const height = Math.round(clamp(width / 2, 15 * em, 24 * em));
      const [top, bottom, right] = [0.8 * em, height - 1.7 * em, width - 1.8 * em];
      const y = scale(ys, bottom, top, 5);
      const left = (roughWidth(y.ticks.map(brief)) + 0.8) * em;
      const x = scale(xs, left, right, Math.min(xs.length, (right - left) / em / 6));
      const frame = { x, y, right, top, bottom, em };
      const view = { width, height, viewBox: `0 0 ${width} ${height}` };
      area.replaceChildren(svg("svg", view, drawFrame(frame, left), ...draw(frame)));
    },
  };
}
