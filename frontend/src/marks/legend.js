/** The scale of sign hue × opacity. */
import { h } from "../dom.js";
import { cellColour } from "../numbers.js";
import { plain } from "../text.js";

/**
 * @param {number} limit the |value| of full opacity
 * @param {string | undefined} unit
 * @param {(value: number) => string} write
 * @param {import("../spec").Colours} colours
 */
export function legend(limit, unit, write, colours) {
  const [negative, positive] = [-1, 1].map((sign) => cellColour(sign, 1, colours));
  const style = `background:linear-gradient(90deg,${negative},#0000,${positive})`;
  const ends = [write(-limit), "0", write(limit)].map((end) => h("span", {}, end));
  const bar = h("", {}, h(".scale", { style }), h(".ends", {}, ...ends));
  return [bar, h("span.dim", {}, plain(unit))];
}
