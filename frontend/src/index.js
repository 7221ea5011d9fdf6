/**
 * One module, two hosts: anywidget calls `initialize` and `render`; in a page or a notebook output it
 * mounts itself on the figures that wait for it. It keeps no state of its own, since hosts may load it
 * once for all figures or once for each.
 */
import { decodeBase64 } from "./arrays.js";
import { h } from "./dom.js";
import { paintFigure } from "./figure.js";
import { plain } from "./text.js";

/**
 * @typedef {object} Model anywidget's model, as far as it is used here
 * @property {(name: string) => any} get
 * @property {(name: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, callback: () => void) => void} on
 * @property {(event: string, callback: () => void) => void} off
 */

/** @param {unknown} error */
const message = (error) => plain(error instanceof Error ? error.message : error);

/** There is nothing to prepare: all state is in the model's traits. */
export function initialize() {}

/**
 * @param {{model: Model, el: HTMLElement, signal?: AbortSignal}} host `signal`: anywidget 0.11 and later
 * @returns {() => void} clean-up, for hosts without a signal
 */
export function render({ model, el, signal }) {
  const stop = new AbortController();
  const alert = h("div", { class: "fv-error", role: "alert", style: "white-space: pre-wrap" });
  const place = h("div", { class: "factviz", "data-live": "true" });
  el.append(alert, place);
  let painting = new AbortController();
  let view = /** @type {ReturnType<typeof paintFigure> | null} */ (null);
  let waiting = false;

  const showError = () => {
    alert.textContent = plain(model.get("error"));
  };
  const showSelection = () => view?.select(model.get("selection") ?? null);
  const paint = () => {
    waiting = false;
    if (stop.signal.aborted) return;
    painting.abort();
    painting = new AbortController();
    place.replaceChildren();
    showError();
    const { spec, arrays } = model.get("figure") ?? {};
    const bytes = model.get("buffer");
    if (!spec) return;
    try {
      view = paintFigure(place, { spec, arrays, bytes }, { signal: painting.signal, onSelect });
      showSelection();
    } catch (error) {
      view = null;
      alert.textContent = message(error);
    }
  };
  /** @param {import("./spec").Selection | null} selection */
  const onSelect = (selection) => {
    model.set("selection", selection);
    model.save_changes();
  };
  // Figure and buffer change together but announce it one after the other.
  const repaint = () => {
    if (!waiting) queueMicrotask(paint);
    waiting = true;
  };

  /** @type {[string, () => void][]} */
  const listeners = [
    ["change:figure", repaint],
    ["change:buffer", repaint],
    ["change:selection", showSelection],
    ["change:error", showError],
  ];
  for (const [event, callback] of listeners) model.on(event, callback);
  const cleanUp = () => {
    if (stop.signal.aborted) return;
    stop.abort();
    painting.abort();
    for (const [event, callback] of listeners) model.off(event, callback);
    place.remove();
    alert.remove();
  };
  signal?.addEventListener("abort", cleanUp);
  paint();
  return cleanUp;
}

/**
 * Makes one saved or inline figure live; where that fails, the static figure stays.
 * @param {HTMLElement} root
 */
export function mount(root) {
  root.dataset.live = "true";
  const still = root.querySelector(".factviz-static");
  try {
    const data = root.querySelector('script[type="application/json"]')?.textContent ?? "";
    const { spec, arrays, buffer } = JSON.parse(data);
    const figure = { spec, arrays, bytes: decodeBase64(buffer) };
    paintFigure(root, figure, { signal: new AbortController().signal });
    still?.remove();
  } catch (error) {
    root.append(h("div", { class: "fv-error", role: "alert" }, message(error)));
  }
}

export default { initialize, render };

/** @type {NodeListOf<HTMLElement>} */
const waiting = document.querySelectorAll(
  '.factviz[data-bundle="__FACTVIZ_BUNDLE__"]:not([data-live])',
);
for (const root of waiting) mount(root);
