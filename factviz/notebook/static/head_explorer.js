/**
 * Two figures in one widget, the second under the first: each is painted by the module that paints
 * every figure, and each keeps its own state (slider, drop-down, focus) while the other changes.
 */
const painters = "__FACTVIZ_PAINTERS__";
const address = URL.createObjectURL(new Blob([painters], { type: "text/javascript" }));
const loaded = import(address);

/**
 * @typedef {object} Model anywidget's model, as far as it is used here
 * @property {(name: string) => any} get
 * @property {(name: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, callback: () => void) => void} on
 * @property {(event: string, callback: () => void) => void} off
 */

/**
 * Where the lower figure's traits are.
 * @type {Record<string, string>}
 */
const TRAITS = { figure: "profile", buffer: "profile_buffer" };

/**
 * The widget's model as the lower figure sees it. What is selected in there, and what went wrong,
 * is not the kernel's affair.
 * @param {Model} model
 * @returns {Model}
 */
function lower(model) {
  /** @param {"on" | "off"} how @returns {(event: string, callback: () => void) => void} */
  const listen = (how) => (event, callback) => {
    const trait = TRAITS[event.replace("change:", "")];
    if (trait) model[how](`change:${trait}`, callback);
  };
  return {
    get: (name) => (name in TRAITS ? model.get(TRAITS[name]) : ""),
    set() {},
    save_changes() {},
    on: listen("on"),
    off: listen("off"),
  };
}

export default {
  /** @param {{model: Model, el: HTMLElement, signal?: AbortSignal}} host */
  async render({ model, el, signal }) {
    const { render } = (await loaded).default;
    if (signal?.aborted) return undefined;
    const ends = [model, lower(model)].map((one) => {
      const place = document.createElement("div");
      el.append(place);
      return render({ model: one, el: place, signal });
    });
    return () => {
      for (const end of ends) end();
    };
  },
};
