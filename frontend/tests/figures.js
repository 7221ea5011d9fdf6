/** Small figures whose numbers can be checked by hand. */

/** Collects arrays into one buffer, as `factviz/views` does. */
export class Pack {
  /** @type {import("../src/spec").ArrayInfo[]} */
  arrays = [];
  /** @type {number[]} */
  numbers = [];

  /** @param {number[]} values @param {number[]} [shape] @returns {import("../src/spec").Ref} */
  add(values, shape = [values.length]) {
    this.arrays.push({ dtype: "float32", shape, offset: this.numbers.length * 4 });
    this.numbers.push(...values);
    return { array: this.arrays.length - 1 };
  }

  get bytes() {
    return new Uint8Array(new Float32Array(this.numbers).buffer);
  }

  get base64() {
    return Buffer.from(this.bytes).toString("base64");
  }
}

/** @type {import("../src/spec").Colours} */
export const COLOURS = { positive: [230, 120, 20], negative: [120, 90, 210], max_opacity: 0.7 };

export const HOSTILE = [
  "</script><script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "\"quotes'`",
  "$x_{$",
  "[/foo]",
  "\u0000\u0007\u001b[31m\u007f\u0085",
  "\n",
  "\t",
  " 🙂👩‍🔬",
  "\u202eevil\u2066",
  " שלום",
  "\ud800",
  "",
];

/**
 * Three heads × four tokens, two pages. On page 0 the row totals are 1, −6 and 3, the column totals
 * −3, 1, 0 and 0.
 * @param {Pack} pack
 * @param {Partial<import("../src/spec").MatrixPanel>} [more]
 * @returns {import("../src/spec").MatrixPanel}
 */
export function matrixPanel(pack, more = {}) {
  const page0 = [1, 0, 0, 0, -5, -1, 0, 0, 1, 2, 0, 0];
  const page1 = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0.5];
  return {
    mark: "matrix",
    title: "Heads",
    unit: "logits",
    pages: { label: "attribute", options: ["Italy (answer)", "Rome"] },
    rows: {
      title: "head",
      labels: ["L0H0", "L0H1", "L1H0"],
      keys: [
        { layer: 0, head: 0 },
        { layer: 0, head: 1 },
        { layer: 1, head: 0 },
      ],
    },
    columns: {
      title: "source token",
      labels: ["<s>", " The", " The", " of"],
      groups: [
        { name: "bos", positions: [0] },
        { name: "subject", positions: [1, 3] },
      ],
    },
    values: pack.add([...page0, ...page1], [2, 3, 4]),
    totals: true,
    limit: null,
    order: "contribution",
    top: null,
    detail: "matrix-row",
    ...more,
  };
}

/** @param {Pack} pack @param {import("../src/spec").Key[] | null} [keys] @returns {import("../src/spec").BarsPanel} */
export function barsPanel(pack, keys = null) {
  return {
    mark: "bars",
    title: "Parts",
    unit: "logits",
    labels: ["heads", " Italy", "bias"],
    keys,
    values: pack.add([2, -1, NaN]),
    low: pack.add([1, -2, NaN]),
    high: pack.add([3, 0, NaN]),
    classes: ["subject", "mixed", null],
  };
}

/** @param {Pack} pack @returns {import("../src/spec").LinesPanel} */
export function linesPanel(pack) {
  return {
    mark: "lines",
    title: "Knockout",
    unit: "percent",
    x: { title: "layer", values: pack.add([0, 1, 2, 3]) },
    series: [
      {
        label: "subject",
        class: "S",
        values: pack.add([0, -10, -20, 0]),
        low: pack.add([-1, -12, -25, -1]),
        high: pack.add([1, -8, -15, 1]),
      },
      { label: "last", values: pack.add([0, NaN, 5, 6]) },
    ],
  };
}

/** @param {Pack} pack @returns {import("../src/spec").PointsPanel} */
export function pointsPanel(pack) {
  return {
    mark: "points",
    title: "Classes",
    x: { title: "subject", unit: "logits", values: pack.add([3, 1, 2, NaN]) },
    y: { title: "relation", unit: "logits", values: pack.add([0, 1, 2, 3]) },
    labels: ["L0H0", "L0H1", "L1H0", "L1H1"],
    keys: [
      { layer: 0, head: 0 },
      { layer: 0, head: 1 },
      { layer: 1, head: 0 },
      { layer: 1, head: 1 },
    ],
    classes: ["subject", "relation", "mixed", "unclassified"],
  };
}

/**
 * @param {import("../src/spec").Panel[]} panels
 * @param {Partial<import("../src/spec").Spec>} [more]
 * @returns {import("../src/spec").Spec}
 */
export function figureSpec(panels, more = {}) {
  return {
    version: 1,
    title: "Fact",
    subtitle: "mini",
    caption: "Units.",
    notes: ["first new token of 2"],
    choose: null,
    colours: COLOURS,
    panels: [panels],
    ...more,
  };
}

/**
 * A saved figure as it stands in a page, before the script has run.
 * @param {import("../src/spec").Spec} spec
 * @param {Pack} pack
 */
export function savedFigure(spec, pack) {
  const root = document.createElement("div");
  root.className = "factviz";
  root.dataset.bundle = "0123456789abcdef";
  const still = document.createElement("div");
  still.className = "factviz-static";
  still.textContent = "static";
  const data = document.createElement("script");
  data.type = "application/json";
  data.textContent = JSON.stringify({ spec, arrays: pack.arrays, buffer: pack.base64 });
  root.append(still, data);
  document.body.append(root);
  return root;
}

/** anywidget's model, as far as the figure uses it. */
export class FakeModel {
  /** @type {Map<string, Set<() => void>>} */
  listeners = new Map();
  saved = 0;

  /** @param {Record<string, unknown>} traits */
  constructor(traits) {
    this.traits = traits;
  }

  /** @param {string} name @returns {any} */
  get(name) {
    return this.traits[name];
  }

  /** Sets what changed together, then tells of each. @param {Record<string, unknown>} traits */
  update(traits) {
    Object.assign(this.traits, traits);
    for (const name of Object.keys(traits)) {
      for (const callback of this.listeners.get(`change:${name}`) ?? []) callback();
    }
  }

  /** @param {string} name @param {unknown} value */
  set(name, value) {
    this.update({ [name]: value });
  }

  save_changes() {
    this.saved++;
  }

  /** @param {string} event @param {() => void} callback */
  on(event, callback) {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(callback));
  }

  /** @param {string} event @param {() => void} callback */
  off(event, callback) {
    this.listeners.get(event)?.delete(callback);
  }

  get listening() {
    return [...this.listeners.values()].reduce((count, callbacks) => count + callbacks.size, 0);
  }
}

/**
 * Presses a key on the focused element; true if the press came out of `root`, to the notebook.
 * @param {Element} root
 * @param {string} key
 * @param {KeyboardEventInit} [modifiers]
 */
export function press(root, key, modifiers = {}) {
  let escaped = false;
  const listen = () => {
    escaped = true;
  };
  document.addEventListener("keydown", listen);
  const target = root.contains(document.activeElement) ? document.activeElement : root;
  const event = new KeyboardEvent("keydown", {
    key,
    bubbles: true,
    cancelable: true,
    ...modifiers,
  });
  target?.dispatchEvent(event);
  document.removeEventListener("keydown", listen);
  return escaped;
}

/** @param {ParentNode} root @param {string} selector @returns {HTMLElement} */
export function find(root, selector) {
  const element = root.querySelector(selector);
  if (!element) throw new Error(`nothing matches ${selector}`);
  return /** @type {HTMLElement} */ (element);
}

/** @param {ParentNode} root @param {string} selector @returns {HTMLElement[]} */
export const findAll = (root, selector) =>
  [...root.querySelectorAll(selector)].map((e) => /** @type {HTMLElement} */ (e));
