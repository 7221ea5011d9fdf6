/**
 * One module, two hosts: anywidget calls `initialize` and `render`; in a page or a notebook output
 * `mount` is called for each figure that waits. It keeps no state of its own, since hosts may load it
 * once for all figures or once for each.
 */
import { decodeBase64 } from "./arrays.js";
import { h, on } from "./dom.js";
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
const message = (error) => plain(/** @type {Error} */ (error)?.message ?? error);

/** @param {string} text */
const alert = (text) => h("", { role: "alert" }, text);

/** There is nothing to prepare: all state is in the model's traits. */
export function initialize() {}

/**
 * @param {{model: Model, el: HTMLElement, signal?: AbortSignal}} host `signal`: anywidget 0.11 and later
 * @returns {() => void} clean-up, for hosts without a signal
 */
export function render({ model, el, signal }) {
  const warning = alert("");
  const place = h("", { class: "factviz", "data-live": "true" });
  el.append(warning, place);
  /** @type {ReturnType<typeof paintFigure> | null} */
  let view = null;
  let waiting = false;

  const showError = () => {
    warning.textContent = plain(model.get("error"));
  };
  const showSelection = () => view?.show(model.get("selection"));
  /** @param {import("./spec").Selection | null} selection */
  const onSelect = (selection) => {
    model.set("selection", selection);
    model.save_changes();
  };
  const paint = () => {
    waiting = false;
    view?.stop();
    view = null;
    showError();
    const { spec, arrays } = model.get("figure") ?? {};
    if (!spec) return;
    try {
      const figure = { spec, arrays, bytes: model.get("buffer") };
      view = paintFigure(place, figure, onSelect);
      showSelection();
    } catch (error) {
      warning.textContent = message(error);
    }
  };
  // Figure and buffer change together but announce it one after the other.
  const repaint = () => {
    if (!waiting) queueMicrotask(() => waiting && paint());
    waiting = true;
  };

  const listeners = {
    figure: repaint,
    buffer: repaint,
    selection: showSelection,
    error: showError,
  };
  /** @param {"on" | "off"} how */
  const listen = (how) => {
    for (const [trait, callback] of Object.entries(listeners))
      model[how](`change:${trait}`, callback);
  };
  const cleanUp = () => {
    waiting = false;
    view?.stop();
    listen("off");
    el.replaceChildren();
  };
  listen("on");
  if (signal) on(signal, "abort", cleanUp);
  paint();
  return cleanUp;
}

/**
 * Makes one saved or inline figure live; where that fails, the static figure stays.
 * @param {HTMLElement} root
 */
export function mount(root) {
  root.dataset.live = "true";
  try {
    const data = root.querySelector("[type$=json]")?.textContent;
    const { spec, arrays, buffer } = JSON.parse(data ?? "");
    paintFigure(root, { spec, arrays, bytes: decodeBase64(buffer) });
    root.querySelector(".factviz-static")?.remove();
  } catch (error) {
    root.append(alert(message(error)));
  }
}

export default { initialize, render };
