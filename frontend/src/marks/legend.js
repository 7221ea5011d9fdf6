/** The scale of sign hue × opacity. */
import { h } from "../dom.js";
import { hue } from "../numbers.js";
import { plain } from "../text.js";

/**
 * @param {number} limit the |value| of full opacity
 * @param {string | undefined} unit
 * @param {(value: number) => string} write
 * @param {import("../spec").Colours} colours
 */
export function legend(limit, unit, write, colours) {
  const full = colours.max_opacity;
  const [low, high] = [write(-limit), write(limit)];
  const stops = [
    hue(-1, colours, full),
    hue(-1, colours, 0),
    hue(1, colours, 0),
    hue(1, colours, full),
  ];
  const bar = h("div", { class: "fv-scale" });
  bar.style.background = `linear-gradient(to right, ${stops[0]}, ${stops[1]} 50%, ${stops[2]} 50%, ${stops[3]})`;
  const name = plain(unit);
  return h(
    "div",
    { class: "fv-legend", role: "img", "aria-label": `colours from ${low} to ${high} ${name}` },
    bar,
    h("div", { class: "fv-ends" }, h("span", {}, low), h("span", {}, "0"), h("span", {}, high)),
    name && h("span", { class: "fv-unit" }, name),
  );
}
