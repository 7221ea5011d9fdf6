/** A whole figure: its words, its panels, and the one selection they share. */
import { reader } from "./arrays.js";
import { reclassify } from "./class-rule.js";
import { bdi, dropDown, fill, h } from "./dom.js";
import { keepKeys } from "./keys.js";
import { bars } from "./marks/bars.js";
import { lines } from "./marks/lines.js";
import { matrix } from "./marks/matrix.js";
import { points } from "./marks/points.js";
import { slider } from "./slider.js";
import style from "./style.css";
import { plain } from "./text.js";
import { makeTip } from "./tip.js";

/** @type {Record<string, (panel: any, context: import("./spec").Context) => import("./spec").View>} */
const PAINTERS = { matrix, bars, lines, points };

/** @typedef {import("./spec").Selection | null} Selected */

/**
 * Paints a figure into `root`.
 * @param {HTMLElement} root
 * @param {{spec: import("./spec").Spec, arrays: import("./spec").ArrayInfo[], bytes: ArrayBufferView}} figure
 * @param {(selection: Selected) => void} [onSelect]
 * @returns {{show: (selection: Selected) => void, stop: () => void}} shows a selection made
 * elsewhere; takes the figure away
 */
export function paintFigure(root, { spec, arrays, bytes }, onSelect) {
  if (spec.version !== 1) throw new Error(`cannot read figure format ${spec.version}`);
  const { choose, colours } = spec;
  const panels = h();
  const read = reader(arrays, bytes);
  /** @type {import("./spec").View[]} */
  let views = [];
  /** @type {Selected} */
  let selection = null;
  let option = 0;
  /** @type {number | undefined} where the slider was moved to */
  let threshold;

  /** @param {Selected} next */
  function show(next) {
    selection = next;
    for (const [i, view] of views.entries()) view.select?.(next?.panel === i ? next.row : null);
  }

  /** @param {Selected} next */
  function select(next) {
    show(next);
    onSelect?.(next);
  }

  /** @param {any} panel @param {number} i */
  function paintPanel(panel, i) {
    const paint = PAINTERS[panel.mark];
    if (!paint) throw new Error(`unknown mark "${panel.mark}"`);
    const { keys } = panel.rows ?? panel;
    const choosing = (/** @type {number | null} */ row) =>
      select(row === null ? null : { panel: i, row, key: keys?.[row] ?? null });
    return paint(panel, { colours, read, tip, select: choosing });
  }

  const layout = () => {
    for (const view of views) view.layout?.();
  };

  function paint() {
    const list = reclassify(spec.panels[option], threshold, read);
    views = list.map(paintPanel);
    fill(panels, ...views.map(({ node }, i) => h(".panel", {}, words("", list[i].title, 4), node)));
    show(selection);
  }

  /** @param {string} what @param {unknown} text @param {number} [level] of a heading */
  const words = (what, text, level) =>
    text ? h(what, { role: level && "heading", "aria-level": level }, bdi(plain(text))) : null;
  const repaint = () => {
    // A page that grew shorter meanwhile would scroll, under the hand that moves the slider.
    panels.style.minHeight = `${panels.offsetHeight}px`;
    paint();
    layout();
    panels.style.minHeight = "";
  };
  /** @type {any[]} */
  const all = spec.panels.flat();
  const rule = all.find((panel) => panel.rule)?.rule;
  const frame = h(
    ".root",
    {},
    h("style", {}, style),
    words(".title", spec.title, 3),
    words(".dim", spec.subtitle),
    (choose || rule) &&
      h(
        ".tools",
        {},
        choose &&
          dropDown(choose.label, choose.options, 0, (chosen) => {
            option = chosen;
            repaint();
          }),
        rule &&
          slider(rule, (moved) => {
            threshold = moved;
            repaint();
          }),
      ),
    panels,
    ...[...(spec.notes ?? []), spec.caption].map((text) => words("p.dim", text)),
  );
  const tip = makeTip(frame);
  paint();
  root.append(frame);
  layout();
  keepKeys(frame, () => {
    const cleared = !!selection;
    tip.hide();
    if (cleared) select(null);
    return cleared;
  });
  let width = 0;
  const observer = new ResizeObserver(() => {
    // Not for a change of height, which a layout itself may cause.
    if (frame.clientWidth !== width) layout();
    width = frame.clientWidth;
  });
  observer.observe(frame);
  const stop = () => {
    observer.disconnect();
    frame.remove();
  };
  return { show, stop };
}
