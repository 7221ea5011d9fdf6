/** Classes are told apart by letter and shape; hue only helps. */
import { bdi, h, svg } from "../dom.js";
import { plain } from "../text.js";

/** Circle, square, diamond; everything else is a triangle. Paths around 0, 0 of about equal area. */
const SHAPES = new Map([
  ["S", "M0-6.2A6.2 6.2 0 1 1 0 6.2A6.2 6.2 0 1 1 0-6.2Z"],
  ["R", "M-5.6-5.6H5.6V5.6H-5.6Z"],
  ["M", "M0-7.8L7.8 0L0 7.8L-7.8 0Z"],
]);
const TRIANGLE = "M0-8L8 6H-8Z";
const LETTERS = new Map([
  ["subject", "S"],
  ["relation", "R"],
  ["mixed", "M"],
]);

/**
 * S, R and M for the three classes; a small letter for any other.
 * @param {string | null | undefined} name
 * @returns {string}
 */
export function classLetter(name) {
  if (!name) return "";
  const key = LETTERS.get(name) ?? name;
  return SHAPES.has(key) ? key : plain([...name][0]).toLowerCase();
}

/**
 * The hue of a class: the two signs' hues for S and R, the text's colour for the rest.
 * @param {string} letter
 * @param {import("../spec").Colours} colours
 */
export function classColour(letter, colours) {
  const rgb = { S: colours.positive, R: colours.negative }[letter];
  return rgb ? `rgb(${rgb.join()})` : "currentColor";
}

/**
 * The sign of a class: its shape, with its letter inside.
 * @param {string} letter
 * @param {string} colour
 * @returns {SVGElement[]}
 */
export function classMark(letter, colour) {
  const shape = svg("path", { d: SHAPES.get(letter) ?? TRIANGLE, class: "fv-shape" });
  shape.style.color = colour;
  const baseline = SHAPES.has(letter) ? 3 : 4.4;
  return [shape, svg("text", { class: "fv-letter", y: baseline }, letter)];
}

/**
 * The classes that occur, each with its letter and name.
 * @param {(string | null)[]} classes
 * @param {import("../spec").Colours} [colours] where points are drawn, shapes are shown too
 */
export function classList(classes, colours) {
  const names = [...new Set(classes)].filter((name) => name !== null && name !== "");
  const items = names.map((name) => {
    const letter = classLetter(name);
    const icon = svg("svg", { class: "fv-icon", viewBox: "-10 -10 20 20", "aria-hidden": "true" });
    if (colours) icon.append(...classMark(letter, classColour(letter, colours)));
    return h("li", {}, colours ? icon : h("b", {}, bdi(letter)), " ", bdi(plain(name)));
  });
  return h("ul", { class: "fv-classes" }, ...items);
}
