/** Making elements. Text only ever becomes text nodes: there is no markup from data here. */
import { plain } from "./text.js";

/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */
/** @typedef {string | Node | null | undefined | false} Child */

/**
 * What is set often has a short name: how an element is read aloud, its tooltip, its place in a grid.
 * @type {Record<string, string>}
 */
const SHORT = {
  label: "aria-label",
  tip: "data-tip",
  row: "aria-rowindex",
  col: "aria-colindex",
};

/**
 * Sets attributes. Null, undefined and false leave one out.
 * @param {Element} element
 * @param {Attributes} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if ((value ?? false) !== false) element.setAttribute(SHORT[name] ?? name, String(value));
  }
}

/**
 * Gives an element these children, in the place of those it has.
 * @param {Element} element
 * @param {Child[]} children
 */
export const fill = (element, ...children) =>
  element.replaceChildren(.../** @type {(string | Node)[]} */ (children.filter(Boolean)));

/**
 * A function that makes elements of one kind: `h("p.hint", {title: "x"}, "text")` is
 * `<p class="fv-hint" title="x">text</p>`. Null, undefined and false leave a child or an attribute out.
 * @param {string | null} namespace
 */
const maker =
  (namespace) =>
  /** @param {string} what @param {Attributes} attributes @param {Child[]} children */
  (what = "", attributes = {}, ...children) => {
    const [tag, ...classes] = what.split(".");
    const element = document.createElementNS(namespace, tag || "div");
    for (const name of classes) element.classList.add(`fv-${name}`);
    set(element, attributes);
    fill(element, ...children);
    return element;
  };

/** @typedef {(what?: string, attributes?: Attributes, ...children: Child[]) => HTMLElement} MakeHtml */
/** @typedef {(what?: string, attributes?: Attributes, ...children: Child[]) => SVGElement} MakeSvg */
export const h = /** @type {MakeHtml} */ (maker(document.head.namespaceURI));
export const svg = /** @type {MakeSvg} */ (maker("http://www.w3.org/2000/svg"));

/**
 * A text of unknown direction, kept from reordering what stands around it.
 * @param {string} text
 */
export const bdi = (text) => h("bdi", {}, text);

/**
 * Listens to several kinds of event at once.
 * @template {Event} E
 * @param {EventTarget} target
 * @param {string} kinds
 * @param {(event: E) => void} listener
 */
export function on(target, kinds, listener) {
  for (const kind of kinds.split(" ")) {
    target.addEventListener(kind, /** @type {EventListener} */ (listener));
  }
}

/** @param {Element} element @param {string} name @param {boolean} is whether it has this class */
export const toggle = (element, name, is) => element.classList.toggle(`fv-${name}`, is);

/** @param {Element} element where it is on the screen */
export const box = (element) => element.getBoundingClientRect();

/** @param {Element} element @returns {number} its font size in pixels */
export const fontSize = (element) => Number.parseFloat(getComputedStyle(element).fontSize) || 13;

/**
 * A labelled drop-down list.
 * @param {string} label
 * @param {string[]} options
 * @param {number} chosen
 * @param {(index: number) => void} onChange
 */
export function dropDown(label, options, chosen, onChange) {
  const select = /** @type {HTMLSelectElement} */ (h("select", { label: plain(label) }));
  select.append(...options.map((text) => h("option", {}, plain(text))));
  select.selectedIndex = chosen;
  on(select, "change", () => onChange(select.selectedIndex));
  return h("label.field", {}, h("span.dim", {}, plain(label)), select);
}
