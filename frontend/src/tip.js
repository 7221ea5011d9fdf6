/** One tooltip for a figure. */
import { box, h, on } from "./dom.js";
import { clamp } from "./numbers.js";

/**
 * Shows the `data-tip` of whatever the pointer or the focus is on. Its text is one text node, in
 * lines.
 * @param {HTMLElement} root the positioned element that holds the whole figure
 * @returns {import("./spec").Tip}
 */
export function makeTip(root) {
  const node = h(".tip", { hidden: "" });
  root.append(node);
  const hide = () => {
    node.hidden = true;
  };
  /** @param {Element} anchor @param {string} text */
  const show = (anchor, text) => {
    node.textContent = text;
    node.hidden = false;
    const frame = box(root);
    const at = box(anchor);
    const middle = at.left + at.width / 2 - frame.left;
    const left = clamp(middle - node.offsetWidth / 2, 0, frame.width - node.offsetWidth);
    const below = at.bottom - frame.top + 6;
    const above = at.top - frame.top - node.offsetHeight - 6;
    // An output cell clips what leaves it, so the tip stays within the figure.
    const top = below + node.offsetHeight > frame.height && above >= 0 ? above : below;
    node.style.left = `${left}px`;
    node.style.top = `${top}px`;
  };
  on(root, "pointerover focusin", ({ target }) => {
    /** @type {HTMLElement | null} */
    const anchor = /** @type {Element} */ (target).closest("[data-tip]");
    if (anchor) show(anchor, anchor.dataset.tip ?? "");
    else hide();
  });
  on(root, "pointerleave focusout", hide);
  return { show, hide };
}
