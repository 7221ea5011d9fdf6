/** Making elements. Text only ever becomes text nodes: there is no markup from data here. */

/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */
/** @typedef {string | Node | null | undefined | false} Child */

/**
 * @param {Element} element
 * @param {Attributes} attributes
 */
export function assign(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  assign(element, attributes);
  element.append(
    ...children.filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/**
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  assign(element, attributes);
  element.append(
    ...children.filter((child) => child !== null && child !== undefined && child !== false),
  );
  return /** @type {SVGElement} */ (element);
}

/**
 * A text of unknown direction, kept from reordering what stands around it.
 * @param {string} text
 */
export const bdi = (text) => h("bdi", {}, text);

/**
 * A labelled drop-down list.
 * @param {string} label
 * @param {string[]} options
 * @param {number} chosen
 * @param {(index: number) => void} onChange
 */
export function dropDown(label, options, chosen, onChange) {
  const select = h("select", { class: "fv-select", "aria-label": label });
  for (const [i, text] of options.entries()) select.append(h("option", { value: i }, text));
  select.selectedIndex = chosen;
  select.addEventListener("change", () => onChange(select.selectedIndex));
  return h("label", { class: "fv-field" }, h("span", {}, label), select);
}
