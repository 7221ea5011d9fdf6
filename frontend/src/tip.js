/** One tooltip for a figure. It and the sticky headers need a background that hides what is under. */
import { h } from "./dom.js";

/**
 * @param {string} colour a computed colour
 * @returns {number[]} red, green, blue (0 to 255) and opacity (0 to 1)
 */
function channels(colour) {
  const [r = 0, g = 0, b = 0, a = 1] = (colour.match(/[\d.]+/g) ?? []).map(Number);
  return [r, g, b, a];
}

/**
 * The colour behind an element. Where every ancestor is transparent (an output frame over its
 * parent's page), the text's lightness says which kind of theme it is.
 * @param {Element} element
 * @returns {string}
 */
export function paperColour(element) {
  for (let at = /** @type {Element | null} */ (element); at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (colour.startsWith("rgb") && channels(colour)[3] > 0.95) return colour;
  }
  const [r, g, b] = channels(getComputedStyle(element).color);
  return 0.3 * r + 0.6 * g + 0.1 * b > 140 ? "#1b1b1b" : "#fff";
}

/**
 * Asked again whenever the pointer or the focus comes in, since themes change while figures stand.
 * @param {HTMLElement} root
 * @param {AbortSignal} signal
 */
export function followPaper(root, signal) {
  const refresh = () => root.style.setProperty("--fv-paper", paperColour(root));
  root.addEventListener("pointerenter", refresh, { signal });
  root.addEventListener("focusin", refresh, { signal });
  refresh();
}

/**
 * @param {HTMLElement} root the positioned element that holds the whole figure
 * @returns {import("./spec").Tip}
 */
export function makeTip(root) {
  const node = h("div", { class: "fv-tip", role: "tooltip", hidden: true });
  root.append(node);
  /** @param {Element} anchor */
  const place = (anchor) => {
    const frame = root.getBoundingClientRect();
    const at = anchor.getBoundingClientRect();
    const middle = at.left + at.width / 2 - frame.left;
    const left = Math.min(middle - node.offsetWidth / 2, frame.width - node.offsetWidth);
    const below = at.bottom - frame.top + 6;
    const above = at.top - frame.top - node.offsetHeight - 6;
    // An output cell clips what leaves it, so the tip stays within the figure.
    const top = below + node.offsetHeight > frame.height && above >= 0 ? above : below;
    node.style.left = `${Math.max(0, left)}px`;
    node.style.top = `${top}px`;
  };
  return {
    show(anchor, lines) {
      node.replaceChildren(...lines.map((line) => h("div", {}, line)));
      node.hidden = false;
      place(anchor);
    },
    hide() {
      node.hidden = true;
    },
  };
}
