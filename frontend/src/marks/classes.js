/** Classes are told apart by letter and shape; hue only helps. */
import { bdi, h, svg } from "../dom.js";
import { css } from "../numbers.js";
import { plain } from "../text.js";

/**
 * Circle, square, diamond; everything else is a triangle. Paths around 0, 0 of about equal area.
 * @type {Record<string, string>}
 */
const SHAPES = {
  S: "M0-6A6 6 0 1 1 0 6 6 6 0 1 1 0-6Z",
  R: "M-5.6-5.6H5.6V5.6H-5.6Z",
  M: "M0-7.8 7.8 0 0 7.8-7.8 0Z",
};

/**
 * S, R and M for the three classes; a small letter for any other.
 * @param {string | null | undefined} name
 * @returns {string}
 */
export function classLetter(name) {
  if (!name) return "";
  if (/^(S|R|M|subject|relation|mixed)$/.test(name)) return name[0].toUpperCase();
  return plain([...name][0]).toLowerCase();
}

/**
 * The sign of a class: its shape, with its letter inside; a plain circle where there are no classes. S and R have the hues of the two signs, the
 * rest the text's colour.
 * @param {string} letter
 * @param {import("../spec").Colours} colours
 * @returns {SVGElement[]}
 */
export function classMark(letter, { positive, negative }) {
  const hue = { S: positive, R: negative }[letter];
  const style = hue && `color:${css(hue)}`;
  const shape = SHAPES[letter || "S"];
  return [
    svg(shape ? "path.shape" : "path.shape.other", { d: shape ?? "M0-8 8 6H-8Z", style }),
    svg("text.letter", { y: shape ? 0 : 1.5 }, letter),
  ];
}

/**
 * A legend's entries: a sign, a letter and a name each.
 * @param {[Element | undefined, string, string][]} entries
 */
export function keyList(entries) {
  const items = entries.map(([icon, letter, name]) =>
    h("li", {}, icon, letter && h("b", {}, bdi(letter)), bdi(name)),
  );
  return h("ul.classes", {}, ...items);
}

/**
 * The classes that occur, each with its letter and name.
 * @param {(string | null)[]} classes
 * @param {import("../spec").Colours} [colours] where points are drawn, shapes are shown too
 */
export function classList(classes, colours) {
  const names = [...new Set(classes)].filter(Boolean);
  return keyList(
    names.map((name) => {
      const letter = classLetter(name);
      const icon =
        colours && svg("svg.icon", { viewBox: "-10 -10 20 20" }, ...classMark(letter, colours));
      return [icon, icon ? "" : letter, plain(name)];
    }),
  );
}
