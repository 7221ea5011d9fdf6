/** A list of elements of which one can be chosen: one tab stop, arrow keys, click or Enter. */
import { isChoice, step } from "../keys.js";

/**
 * @param {(HTMLElement | SVGElement)[]} items in the order of the arrow keys
 * @param {object} options
 * @param {AbortSignal} options.signal
 * @param {string} options.state the ARIA attribute that says which is chosen
 * @param {((index: number | null) => void) | null} options.onChoose null where nothing can be chosen
 * @returns {(index: number | null) => void} shows what is chosen
 */
export function choosable(items, { signal, state, onChoose }) {
  let chosen = /** @type {number | null} */ (null);
  const choose = (/** @type {number} */ i) => onChoose?.(i === chosen ? null : i);
  const onlyStop = (/** @type {number} */ i) => {
    for (const [j, item] of items.entries()) item.setAttribute("tabindex", i === j ? "0" : "-1");
  };
  for (const [i, item] of items.entries()) {
    item.addEventListener("click", () => choose(i), { signal });
    item.addEventListener("focus", () => onlyStop(i), { signal });
    item.addEventListener(
      "keydown",
      (event) => {
        const to = step(/** @type {KeyboardEvent} */ (event), i, items.length);
        if (to !== null) items[to].focus();
        else if (onChoose && isChoice(/** @type {KeyboardEvent} */ (event))) choose(i);
        else return;
        event.preventDefault();
      },
      { signal },
    );
  }
  onlyStop(0);
  return (index) => {
    chosen = index;
    for (const [i, item] of items.entries()) {
      item.classList.toggle("fv-chosen", i === index);
      if (onChoose) item.setAttribute(state, String(i === index));
    }
  };
}
