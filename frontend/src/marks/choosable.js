/** A list of elements of which one can be chosen: one tab stop, arrow keys, click or Enter. */
import { on, set, toggle } from "../dom.js";
import { along, isChoice } from "../keys.js";

/**
 * @param {(HTMLElement | SVGElement)[]} items in the order of the arrow keys
 * @param {string} state the ARIA attribute that says which is chosen
 * @param {((index: number | null) => void) | null} onChoose null where nothing can be chosen
 * @returns {(index: number | null) => void} shows what is chosen
 */
export function choosable(items, state, onChoose) {
  let chosen = /** @type {number | null} */ (null);
  /** @param {number} i */
  const onlyStop = (i) => {
    for (const [j, item] of items.entries()) item.tabIndex = i === j ? 0 : -1;
  };
  /** @param {number | null} index */
  const show = (index) => {
    chosen = index;
    for (const [i, item] of items.entries()) {
      toggle(item, "chosen", i === index);
      if (onChoose) set(item, { [state]: String(i === index) });
    }
  };
  for (const [i, item] of items.entries()) {
    const choose = () => onChoose?.(i === chosen ? null : i);
    on(item, "click", choose);
    on(item, "focus", () => onlyStop(i));
    on(item, "keydown", (/** @type {KeyboardEvent} */ event) => {
      const next = along(event, i, items.length);
      if (next !== undefined) items[next].focus();
      else if (isChoice(event)) choose();
      else return;
      event.preventDefault();
    });
  }
  onlyStop(0);
  show(null);
  return show;
}
