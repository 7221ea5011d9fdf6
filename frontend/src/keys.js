/** Which keys are the figure's and which the notebook's. */

/**
 * Ctrl, Meta, Alt and Shift+Enter belong to the notebook (save, run, …), wherever the focus is.
 * @param {KeyboardEvent} event
 */
export function isNotebooks(event) {
  const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
  return ctrlKey || metaKey || altKey || (shiftKey && key === "Enter");
}

/**
 * Keeps unmodified keys inside the figure: JupyterLab would take "j", "Enter" or an arrow as a
 * command. Escape first calls `clear`; when there was nothing to clear it leaves the figure and goes
 * on to the notebook.
 * @param {HTMLElement} root
 * @param {AbortSignal} signal
 * @param {() => boolean} clear whether something was cleared
 */
export function keepKeys(root, signal, clear) {
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (isNotebooks(event)) return;
    if (event.key === "Escape" && !clear()) {
      if (event.target instanceof HTMLElement || event.target instanceof SVGElement) {
        event.target.blur();
      }
      return;
    }
    event.stopPropagation();
  };
  root.addEventListener("keydown", onKey, { signal });
}

/**
 * The place in a list of `count` that an arrow key leads to, or null for other keys.
 * @param {KeyboardEvent} event
 * @param {number} at
 * @param {number} count
 * @returns {number | null}
 */
export function step(event, at, count) {
  if (isNotebooks(event)) return null;
  const last = count - 1;
  switch (event.key) {
    case "ArrowDown":
    case "ArrowRight":
      return Math.min(at + 1, last);
    case "ArrowUp":
    case "ArrowLeft":
      return Math.max(at - 1, 0);
    case "Home":
      return 0;
    case "End":
      return last;
    default:
      return null;
  }
}

/**
 * Whether a key press chooses what is focused.
 * @param {KeyboardEvent} event
 */
export function isChoice(event) {
  return !isNotebooks(event) && (event.key === "Enter" || event.key === " ");
}
