/** Which keys are the figure's and which the notebook's. */
import { on } from "./dom.js";
import { clamp } from "./numbers.js";

/**
 * Ctrl, Meta, Alt and Shift+Enter belong to the notebook (save, run, …), wherever the focus is.
 * @param {KeyboardEvent} event
 */
export const isNotebooks = ({ key, ctrlKey, metaKey, altKey, shiftKey }) =>
  ctrlKey || metaKey || altKey || (shiftKey && key === "Enter");

/**
 * Keeps unmodified keys inside the figure: JupyterLab would take "j", "Enter" or an arrow as a
 * command. Escape first calls `clear`; when there was nothing to clear it leaves the figure and goes
 * on to the notebook.
 * @param {HTMLElement} root
 * @param {() => boolean} clear whether something was cleared
 */
export function keepKeys(root, clear) {
  on(root, "keydown", (/** @type {KeyboardEvent} */ event) => {
    if (isNotebooks(event)) return;
    const at = /** @type {HTMLElement} */ (event.target);
    if (event.key !== "Escape" || clear()) event.stopPropagation();
    else at.blur();
  });
}

/**
 * How far an arrow key leads, in steps down and steps to the right; undefined for other keys.
 * @param {KeyboardEvent} event
 * @returns {[number, number] | undefined}
 */
export function move(event) {
  if (isNotebooks(event)) return undefined;
  /** @type {Record<string, [number, number]>} */
  const moves = {
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    Home: [0, -1e9],
    End: [0, 1e9],
    PageUp: [-10, 0],
    PageDown: [10, 0],
  };
  return moves[event.key];
}

/**
 * Where an arrow key leads in a list, either way; undefined for other keys.
 * @param {KeyboardEvent} event
 * @param {number} at
 * @param {number} count
 */
export function along(event, at, count) {
  const step = move(event);
  return step && clamp(at + step[0] + step[1], 0, count - 1);
}

/**
 * Whether a key press chooses what is focused.
 * @param {KeyboardEvent} event
 */
export const isChoice = (event) => !isNotebooks(event) && /^( |Enter)$/.test(event.key);
