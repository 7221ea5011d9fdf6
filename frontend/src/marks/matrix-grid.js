/**
 * The grid of a matrix: an ARIA grid with one tab stop. Only rows and columns in sight have elements,
 * so 512 tokens × 144 heads scroll as easily as 12 × 20.
 */
import { bdi, h } from "../dom.js";
import { isChoice, isNotebooks } from "../keys.js";
import { cellColour } from "../numbers.js";
import { plain, token } from "../text.js";
import { geometry, groupRuns, inSight } from "./matrix-layout.js";

/** With more rows than this the grid scrolls downwards as well. */
const TALL = 32;

/**
 * @typedef {object} Page
 * @property {ArrayLike<number>} values row-major [row, column]
 * @property {{rows: Float64Array, columns: Float64Array, total: number}} sums
 * @property {number} limit
 * @property {(value: number) => string} write
 * @property {number[]} shown row numbers in display order
 */

/**
 * @param {import("../spec").MatrixPanel} panel
 * @param {import("../spec").Context} context
 * @param {(row: number) => void} onChoose
 */
export function makeGrid(panel, context, onChoose) {
  const nColumns = panel.columns.labels.length;
  const withTotals = panel.totals ?? true;
  const nStops = nColumns + (withTotals ? 1 : 0);
  const columnTexts = panel.columns.labels.map(token);
  const rowTexts = panel.rows.labels.map(plain);
  const groups = groupRuns(panel.columns.groups ?? [], nColumns);
  const unit = plain(panel.unit);
  const everyRow = `all ${rowTexts.length}`;

  const brackets = h("div", { class: "fv-brackets", "aria-hidden": "true" });
  const heads = h("div", { class: "fv-row fv-heads", role: "row", "aria-rowindex": 1 });
  const body = h("div", { class: "fv-body", role: "rowgroup" });
  const foot = h("div", { class: "fv-foot", role: "rowgroup" });
  const grid = h(
    "div",
    { class: "fv-grid", role: "grid", "aria-label": plain(panel.title) || "matrix" },
    h("div", { class: "fv-top", role: "rowgroup" }, brackets, heads),
    body,
    foot,
  );
  const node = h("div", { class: "fv-scroll" }, grid);

  /** @type {Page} */
  let page;
  /** @type {import("./matrix-layout.js").Geometry} */
  let size;
  /** @type {number | null} */
  let chosen = null;
  let active = { i: 0, c: 0 };
  let painted = "";

  const isSum = (/** @type {number} */ i) => i === page.shown.length;
  const nRows = () => page.shown.length + (withTotals ? 1 : 0);

  /** @param {number} i @param {number} c */
  function valueAt(i, c) {
    if (isSum(i)) return c === nColumns ? page.sums.total : page.sums.columns[c];
    const row = page.shown[i];
    return c === nColumns ? page.sums.rows[row] : page.values[row * nColumns + c];
  }

  /** @param {number} value */
  const amount = (value) =>
    Number.isNaN(value) ? "no value" : `${page.write(value)}${unit && ` ${unit}`}`;

  /** @param {number} c */
  const place = (c) => (groups.of[c] ? ` (${plain(groups.of[c])})` : "");

  /**
   * What a screen reader says at a cell.
   * @param {number} i @param {number} c
   */
  function spoken(i, c) {
    const title = plain(panel.rows.title);
    const who = isSum(i) ? `${everyRow} ${title}s` : rowTexts[page.shown[i]];
    const value = amount(valueAt(i, c));
    if (c === nColumns) return `${who}, total: ${value}`;
    const verb = title === "head" ? `read${isSum(i) ? "" : "s"}` : "at";
    return `${who} ${verb} "${plain(panel.columns.labels[c])}"${place(c)}: ${value}`;
  }

  /** @param {number} i @param {number} c */
  function makeCell(i, c) {
    const value = valueAt(i, c);
    const total = isSum(i) || c === nColumns;
    const text = Number.isNaN(value) ? "" : page.write(value);
    const loud = total || Math.abs(value) >= 0.05 * page.limit;
    const cell = h("div", {
      class: `fv-cell${c === nColumns ? " fv-sum" : ""}${Number.isNaN(value) ? " fv-none" : ""}`,
      role: "gridcell",
      tabindex: -1,
      "aria-colindex": c + 2,
      "aria-label": spoken(i, c),
      "data-i": i,
      "data-c": c,
    });
    if (!total) {
      const tile = h("span", { class: "fv-tile" }, size.numbers && loud ? text : "");
      tile.style.backgroundColor = cellColour(value, page.limit, context.colours);
      cell.append(tile);
    } else if (c === nColumns || size.numbers || size.cell >= 2.8 * fontSize()) cell.append(text);
    return cell;
  }

  /** @param {number} i @param {number} from @param {number} to */
  function makeRow(i, from, to) {
    const row = isSum(i) ? null : page.shown[i];
    const head = h(
      "div",
      { class: "fv-rowhead", role: "rowheader", "aria-colindex": 1, "data-i": i },
      bdi(row === null ? everyRow : rowTexts[row]),
    );
    const cells = [];
    for (let c = from; c < to; c++) cells.push(makeCell(i, c));
    pad(cells, from, to);
    if (withTotals) cells.push(makeCell(i, nColumns));
    const attributes = { class: "fv-row", role: "row", "aria-rowindex": i + 2 };
    const line = h("div", attributes, head, ...cells);
    if (row !== null) line.dataset.row = String(row);
    return line;
  }

  /** Room for the columns out of sight. @param {HTMLElement[]} cells @param {number} from @param {number} to */
  function pad(cells, from, to) {
    if (!cells.length) return;
    if (from) cells[0].style.marginInlineStart = `${from * size.cell}px`;
    if (to < nColumns)
      cells[cells.length - 1].style.marginInlineEnd = `${(nColumns - to) * size.cell}px`;
  }

  /** @param {number} from @param {number} to */
  function paintHeads(from, to) {
    const cells = [];
    for (let c = from; c < to; c++) {
      const label = `${plain(panel.columns.labels[c])}, position ${c}${place(c)}`;
      const attributes = { class: "fv-token", role: "columnheader", "aria-colindex": c + 2 };
      cells.push(
        h("div", { ...attributes, "aria-label": label, "data-c": c }, bdi(columnTexts[c])),
      );
    }
    pad(cells, from, to);
    const title = { class: "fv-rowhead", role: "columnheader", "aria-colindex": 1 };
    heads.replaceChildren(h("div", title, plain(panel.rows.title)), ...cells);
    if (withTotals) {
      const sum = { class: "fv-token fv-sum", role: "columnheader", "aria-colindex": nColumns + 2 };
      heads.append(h("div", sum, "total"));
    }
  }

  function paintBrackets() {
    brackets.replaceChildren(
      ...groups.runs.map(({ name, start, stop }) => {
        const run = h(
          "div",
          { class: "fv-bracket", title: plain(name) },
          h("span", {}, bdi(plain(name))),
        );
        run.style.left = `${size.label + start * size.cell + 2}px`;
        run.style.width = `${(stop - start) * size.cell - 4}px`;
        return run;
      }),
    );
    brackets.hidden = !groups.runs.length;
  }

  /** Makes the elements in sight, unless they are there already. @param {boolean} [anew] */
  function paint(anew = false) {
    const width = node.clientWidth || 900;
    const [c0, c1] = inSight(node.scrollLeft, width, size.cell, nColumns);
    const count = page.shown.length;
    const tall = count > TALL;
    const height = node.clientHeight || 600;
    const [r0, r1] = tall ? inSight(node.scrollTop, height, size.row, count) : [0, count];
    const key = [c0, c1, r0, r1].join();
    if (!anew && key === painted) return;
    painted = key;
    const focused = hasFocus();
    const rows = [];
    for (let i = r0; i < r1; i++) rows.push(makeRow(i, c0, c1));
    body.style.paddingBlock = `${r0 * size.row}px ${(count - r1) * size.row}px`;
    paintHeads(c0, c1);
    body.replaceChildren(...rows);
    foot.replaceChildren(...(withTotals ? [makeRow(count, c0, c1)] : []));
    markChosen();
    markActive(focused);
  }

  function hasFocus() {
    const root = /** @type {Document | ShadowRoot} */ (node.getRootNode());
    return Boolean(root.activeElement && node.contains(root.activeElement));
  }

  function markChosen() {
    for (const row of /** @type {NodeListOf<HTMLElement>} */ (body.querySelectorAll(".fv-row"))) {
      const is = chosen !== null && row.dataset.row === String(chosen);
      row.classList.toggle("fv-chosen", is);
      row.setAttribute("aria-selected", String(is));
    }
  }

  /**
   * The active cell is the one tab stop; when it is out of sight, the box is.
   * @param {boolean} focus
   */
  function markActive(focus) {
    const cell = cellAt(active.i, active.c);
    for (const old of grid.querySelectorAll('[tabindex="0"]')) old.setAttribute("tabindex", "-1");
    node.tabIndex = cell ? -1 : 0;
    cell?.setAttribute("tabindex", "0");
    if (focus) (cell ?? node).focus({ preventScroll: true });
  }

  /** @param {number} i @param {number} c @returns {HTMLElement | null} */
  function cellAt(i, c) {
    return grid.querySelector(`.fv-cell[data-i="${i}"][data-c="${c}"]`);
  }

  /** @param {number} i @param {number} c */
  function moveTo(i, c) {
    active = { i, c };
    const left = c * size.cell;
    const right = left + size.cell - (node.clientWidth - size.label - size.sum);
    if (c < nColumns) node.scrollLeft = Math.max(Math.min(node.scrollLeft, left), right);
    const above = i * size.row;
    const below = above + size.row - (node.clientHeight - frameHeight());
    if (i < page.shown.length) node.scrollTop = Math.max(Math.min(node.scrollTop, above), below);
    paint();
    markActive(true);
  }

  /** The height of what sticks to the top and bottom. */
  const frameHeight = () => grid.offsetHeight - body.offsetHeight;
  const fontSize = () => Number.parseFloat(getComputedStyle(node).fontSize) || 13;

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (isNotebooks(event)) return;
    const { i, c } = active;
    /** @type {Record<string, [number, number]>} */
    const moves = {
      ArrowLeft: [i, c - 1],
      ArrowRight: [i, c + 1],
      ArrowUp: [i - 1, c],
      ArrowDown: [i + 1, c],
      Home: [i, 0],
      End: [i, nStops - 1],
      PageUp: [i - 10, c],
      PageDown: [i + 10, c],
    };
    const to = moves[event.key];
    if (to) {
      moveTo(Math.max(0, Math.min(to[0], nRows() - 1)), Math.max(0, Math.min(to[1], nStops - 1)));
    } else if (isChoice(event) && i < page.shown.length) onChoose(page.shown[i]);
    else return;
    event.preventDefault();
  }

  /**
   * The place of an event: [display row, column], either −1 in the headers.
   * @param {Event} event
   * @returns {{element: HTMLElement, i: number, c: number} | null}
   */
  function locate(event) {
    const element =
      event.target instanceof Element ? event.target.closest("[data-i],[data-c]") : null;
    if (!(element instanceof HTMLElement)) return null;
    return { element, i: Number(element.dataset.i ?? -1), c: Number(element.dataset.c ?? -1) };
  }

  /** @param {Event} event */
  function onClick(event) {
    const at = locate(event);
    if (!at || at.i < 0) return;
    if (at.c >= 0) {
      active = { i: at.i, c: at.c };
      markActive(true);
    }
    if (at.i < page.shown.length) onChoose(page.shown[at.i]);
  }

  /** @param {number} c */
  function source(c) {
    const group = groups.of[c] ? `, ${plain(groups.of[c])}` : "";
    return `position ${c}${group}`;
  }

  /** @param {Event} event */
  function onPoint(event) {
    const at = locate(event);
    for (const old of heads.querySelectorAll(".fv-at")) old.classList.remove("fv-at");
    if (!at || at.c < 0) return context.tip.hide();
    heads.querySelector(`[data-c="${at.c}"]`)?.classList.add("fv-at");
    const i = at.i < 0 ? page.shown.length : at.i;
    const who = isSum(i) ? `${everyRow} ${plain(panel.rows.title)}s` : rowTexts[page.shown[i]];
    const first = h("span", {}, bdi(who));
    if (at.c < nColumns) first.append(" \u2190 ", h("b", {}, bdi(columnTexts[at.c])));
    const value = amount(valueAt(i, at.c));
    context.tip.show(at.element, [
      first,
      at.c < nColumns ? source(at.c) : "total",
      h("b", {}, value),
    ]);
  }

  const { signal } = context;
  node.addEventListener("scroll", () => paint(), { signal, passive: true });
  node.addEventListener("keydown", onKey, { signal });
  grid.addEventListener("click", onClick, { signal });
  grid.addEventListener("pointerover", onPoint, { signal });
  grid.addEventListener("focusin", onPoint, { signal });
  grid.addEventListener("pointerleave", () => context.tip.hide(), { signal });
  grid.addEventListener("focusout", () => context.tip.hide(), { signal });

  function layout() {
    size = geometry(node.clientWidth || 900, fontSize(), rowTexts, columnTexts, withTotals);
    const width = size.label + size.cell * nColumns + size.sum;
    for (const name of /** @type {const} */ (["label", "cell", "sum", "row", "head"])) {
      grid.style.setProperty(`--fv-${name}`, `${size[name]}px`);
    }
    grid.style.width = `${width}px`;
    grid.classList.toggle("fv-upright", size.upright);
    node.classList.toggle("fv-wider", width > (node.clientWidth || 900));
    paintBrackets();
    paint(true);
  }

  return {
    node,
    layout,
    /** @param {Page} next */
    show(next) {
      page = next;
      grid.setAttribute("aria-rowcount", String(next.shown.length + (withTotals ? 2 : 1)));
      grid.setAttribute("aria-colcount", String(nStops + 1));
      node.classList.toggle("fv-tall", next.shown.length > TALL);
      active = { i: Math.min(active.i, next.shown.length - 1), c: active.c };
      if (node.isConnected) layout();
    },
    /** @param {number | null} row */
    choose(row) {
      chosen = row;
      markChosen();
    },
  };
}
