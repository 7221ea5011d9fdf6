/** A whole figure: its words, its panels, and the one selection they share. */
import { reader } from "./arrays.js";
import { dropDown, h } from "./dom.js";
import { keepKeys } from "./keys.js";
import { bars } from "./marks/bars.js";
import { lines } from "./marks/lines.js";
import { matrix } from "./marks/matrix.js";
import { points } from "./marks/points.js";
import css from "./style.css";
import { plain } from "./text.js";
import { followPaper, makeTip } from "./tip.js";

/** Below this width, in pixels, the style sheet leaves out what can be left out. */
const NARROW = 520;

/**
 * @param {import("./spec").Panel} panel
 * @param {import("./spec").Context} context
 * @returns {import("./spec").View}
 */
function paintPanel(panel, context) {
  switch (panel.mark) {
    case "matrix":
      return matrix(panel, context);
    case "bars":
      return bars(panel, context);
    case "lines":
      return lines(panel, context);
    case "points":
      return points(panel, context);
    default:
      throw new Error(`Mark "${/** @type {any} */ (panel).mark}" is not known here.`);
  }
}

/** @param {import("./spec").Panel} panel */
function keysOf(panel) {
  if (panel.mark === "matrix") return panel.rows.keys;
  return panel.mark === "lines" ? null : panel.keys;
}

/**
 * @param {import("./spec").Selection | null} a
 * @param {import("./spec").Selection | null} b
 */
const same = (a, b) => a === b || (a?.panel === b?.panel && a?.row === b?.row);

/**
 * Paints a figure into `root` and keeps it until `signal` aborts.
 * @param {HTMLElement} root
 * @param {{spec: import("./spec").Spec, arrays: import("./spec").ArrayInfo[], bytes: ArrayBufferView}} figure
 * @param {object} options
 * @param {AbortSignal} options.signal
 * @param {(selection: import("./spec").Selection | null) => void} [options.onSelect]
 * @returns {{select: (selection: import("./spec").Selection | null) => void}}
 */
export function paintFigure(root, { spec, arrays, bytes }, { signal, onSelect }) {
  if (spec.version !== 1) {
    throw new Error(`This figure has format ${spec.version}; this program shows format 1.`);
  }
  const frame = h("div", { class: "fv-root" });
  const panels = h("div", { class: "fv-panels" });
  const tip = makeTip(frame);
  const read = reader(arrays, bytes);
  /** @type {import("./spec").View[]} */
  let views = [];
  /** @type {import("./spec").Selection | null} */
  let selection = null;

  /** @param {import("./spec").Selection | null} next */
  function select(next) {
    selection = next;
    for (const [i, view] of views.entries()) view.select(next?.panel === i ? next.row : null);
  }

  /** @param {import("./spec").Selection | null} next */
  function choose(next) {
    if (same(selection, next)) return;
    select(next);
    onSelect?.(next);
  }

  /** @param {number} option */
  function show(option) {
    tip.hide();
    const list = spec.panels[option] ?? [];
    views = list.map((panel, i) =>
      paintPanel(panel, {
        colours: spec.colours,
        read,
        tip,
        signal,
        select: (row) =>
          choose(row === null ? null : { panel: i, row, key: keysOf(panel)?.[row] ?? null }),
      }),
    );
    panels.replaceChildren(
      ...views.map(({ node }, i) => {
        const title = plain(list[i].title);
        const heading = { class: "fv-paneltitle", role: "heading", "aria-level": 4 };
        return h("div", { class: "fv-panel" }, title && h("div", heading, title), node);
      }),
    );
    select(selection);
    for (const view of views) view.layout();
  }

  const { choose: chooser } = spec;
  frame.prepend(
    h("style", {}, css),
    h(
      "div",
      { class: "fv-title", role: "heading", "aria-level": 3 },
      h("bdi", {}, plain(spec.title)),
    ),
    h("div", { class: "fv-subtitle" }, h("bdi", {}, plain(spec.subtitle))),
    chooser
      ? h(
          "div",
          { class: "fv-tools" },
          dropDown(plain(chooser.label), chooser.options.map(plain), 0, show),
        )
      : "",
    panels,
    ...(spec.notes ?? []).map((note) => h("p", { class: "fv-note" }, plain(note))),
    spec.caption ? h("p", { class: "fv-caption" }, plain(spec.caption)) : "",
  );
  root.append(frame);
  try {
    show(0);
  } catch (error) {
    frame.remove();
    throw error;
  }
  keepKeys(frame, signal, () => {
    tip.hide();
    const cleared = selection !== null;
    choose(null);
    return cleared;
  });
  followPaper(frame, signal);
  followWidth(frame, signal, () => {
    for (const view of views) view.layout();
  });
  return { select };
}

/**
 * Calls `layout` when the room changes; not for a change of height, which `layout` itself may cause.
 * @param {HTMLElement} element
 * @param {AbortSignal} signal
 * @param {() => void} layout
 */
function followWidth(element, signal, layout) {
  let width = -1;
  const observer = new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    element.classList.toggle("fv-narrow", width < NARROW);
    layout();
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}
