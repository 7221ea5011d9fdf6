/** A plot's frame: scales, ticks, faint grid, titles. Shared by lines and points. */
import { fill, fontSize, h, svg } from "../dom.js";
import { abs, brief, clamp, finite, max, min, round, ticks } from "../numbers.js";
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
  let [low, high] = known.length ? [min(...known), max(...known)] : [0, 1];
  const room = (high - low) * 0.05 || abs(low) / 2 || 1;
  [low, high] = [low - room, high + room];
  return {
    at: (value) => from + ((value - low) / (high - low)) * (to - from),
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
  const lines = [svg("path.faint", { d: faint }), svg("path.axes", { d: strong })];
  return svg("g.dim", {}, ...lines, ...texts);
}

/**
 * A plot between its two axis titles, painted anew for every width.
 * @param {string} name as read aloud
 * @param {{title: string, numbers: number[]}[]} axes x and y
 * @param {Element | null | undefined} legend
 * @param {(frame: Frame) => Element[]} draw
 */
export function plot(name, [x, y], legend, draw) {
  const area = h(".area", { role: "group", label: name });
  let painted = 0;
  return {
    area,
    node: h(".plot", {}, legend, h(".dim", {}, y.title), area, h(".xtitle.dim", {}, x.title)),
    layout() {
      const width = area.clientWidth || 640;
      if (width === painted) return;
      painted = width;
      const em = fontSize(area);
      const height = round(clamp(width / 2, 15 * em, 24 * em));
      const [top, bottom, right] = [0.8 * em, height - 1.7 * em, width - 1.8 * em];
      const up = scale(y.numbers, bottom, top, 5);
      const left = (roughWidth(up.ticks.map(brief)) + 0.8) * em;
      const count = min(x.numbers.length, (right - left) / em / 6);
      const frame = { x: scale(x.numbers, left, right, count), y: up, right, top, bottom, em };
      const view = { width, height, viewBox: `0 0 ${width} ${height}` };
      fill(area, svg("svg", view, drawFrame(frame, left), ...draw(frame)));
    },
  };
}
