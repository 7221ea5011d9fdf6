/**
 * The grid of a matrix: an ARIA grid with one tab stop. Only rows and columns in sight have elements,
 * so 512 tokens × 144 heads scroll as easily as 12 × 20.
 */
import { bdi, fill, fontSize, h, on, set, toggle } from "../dom.js";
import { isChoice, move } from "../keys.js";
import { abs, cellColour, clamp, min, missing } from "../numbers.js";
import { isolate, plain, token, withUnit } from "../text.js";
import { geometry, groupOf, inSight } from "./matrix-layout.js";

/** With more rows than this the grid scrolls downwards as well. */
const TALL = 32;

/**
 * @typedef {object} Page
 * @property {Float64Array} table row-major [row, column], with sums as last row and last column
 * @property {number} limit the |value| of full opacity
 * @property {(value: number) => string} write
 * @property {number[]} shown row numbers in display order
 */

/**
 * @param {import("../spec").MatrixPanel} panel
 * @param {import("../spec").Context} context
 * @param {(row: number) => void} onChoose
 */
export function makeGrid({ title, unit, rows, columns, totals = true }, { colours }, onChoose) {
  const n = columns.labels.length;
  const last = totals ? n : n - 1;
  const tokens = columns.labels.map(token);
  const nRows = rows.labels.length;
  const names = [...rows.labels.map(plain), `all ${nRows}`];
  const groups = groupOf(columns);
  const kind = plain(rows.title);

  const heads = h(".row.heads", { role: "row", row: 1 });
  const body = h(".body", { role: "rowgroup" });
  const foot = h(".foot", { role: "rowgroup" });
  const top = h(".top", { role: "rowgroup" }, heads);
  const grid = h(
    ".grid",
    { role: "grid", label: plain(title), "aria-colcount": last + 2 },
    top,
    body,
    foot,
  );
  const node = h(".scroll", {}, grid);

  /** @type {Page} */
  let page;
  /** @type {import("./matrix-layout.js").Geometry} */
  let size;
  let chosen = /** @type {number | null} */ (null);
  let active = { i: 0, c: 0 };
  let painted = "";
  /** The one tab stop. */
  let stop = node;

  /** The row at a place on the screen; below the shown ones stand the sums. @param {number} i */
  const rowAt = (i) => page.shown[i] ?? nRows;

  /** @param {number} i */
  function choose(i) {
    if (i < page.shown.length) onChoose(page.shown[i]);
  }

  /** @param {number} c */
  const place = (c) => groups[c] && ` (${groups[c]})`;
  /** @param {number} c */
  const where = (c) => (c === n ? "total" : `${isolate(tokens[c])}\nposition ${c}${place(c)}`);

  /** What is read aloud at a cell. @param {number} row @param {number} c */
  function spoken(row, c) {
    if (c === n) return `${names[row]}, total`;
    const verb = kind === "head" && row < nRows ? "reads" : "at";
    return `${names[row]} ${verb} "${plain(columns.labels[c])}"${place(c)}`;
  }

  /** @param {number} i place of the row @param {number} c column, n for the sums */
  function makeCell(i, c) {
    const row = rowAt(i);
    const value = page.table[row * (n + 1) + c];
    const written = page.write(value);
    const amount = withUnit(written, unit);
    const text = (size.numbers || c === n) && !missing(value) && written;
    const bare = c === n || row === nRows;
    const loud = abs(value) >= 0.05 * page.limit;
    const style = `background-color:${cellColour(value, page.limit, colours)}`;
    const attributes = {
      role: "gridcell",
      tabindex: -1,
      col: c + 2,
      label: `${spoken(row, c)}: ${amount}`,
      tip: `${isolate(names[row])} \u2190 ${where(c)}\n${amount}`,
    };
    const tile = h(missing(value) ? "span.tile.none" : "span.tile", { style }, loud && text);
    return h(c === n ? ".cell.sum" : ".cell", attributes, bare ? text : tile);
  }

  /**
   * A row: its label, its columns in sight, its total.
   * @param {Element} row @param {Element} head @param {(c: number) => Element} cell
   * @param {number} from @param {number} to
   */
  function fillRow(row, head, cell, from, to) {
    const strip = h(".strip");
    for (let c = from; c < to; c++) strip.append(cell(c));
    fill(row, head, strip, totals && cell(n));
    return row;
  }

  /** @param {number} i @param {number} from @param {number} to */
  function makeRow(i, from, to) {
    const row = rowAt(i);
    const line = h(".row", {
      role: "row",
      row: i + 2,
      "data-row": row < nRows ? row : null,
    });
    const attributes = { role: "rowheader", col: 1 };
    const head = h(".rowhead", attributes, bdi(names[row]));
    return fillRow(line, head, (c) => makeCell(i, c), from, to);
  }

  /** A bracket over the columns of one group, from the first one in sight. @param {number} c */
  function bracket(c) {
    let stop = c + 1;
    while (stop < n && groups[stop] === groups[c]) stop++;
    const style = `width:${(stop - c) * size.cell - 4}px`;
    return h(".bracket", { style, "aria-hidden": true }, bdi(groups[c]));
  }

  /** @param {number} from @param {number} to */
  function paintHeads(from, to) {
    const role = "columnheader";
    /** @param {number} c */
    const makeHead = (c) => {
      const index = { role, col: c + 2 };
      if (c === n) return h(".token.sum", index, "total");
      const opens = groups[c] && (c === from || groups[c] !== groups[c - 1]);
      const attributes = { ...index, tip: where(c) };
      return h(".token", attributes, opens && bracket(c), bdi(tokens[c]));
    };
    fillRow(heads, h(".rowhead", { role, col: 1 }, kind), makeHead, from, to);
  }

  /** Makes the elements in sight, unless they are there already. @param {boolean} [anew] */
  function paint(anew) {
    const count = page.shown.length;
    const [c0, c1] = inSight(node.scrollLeft, node.clientWidth || 900, size.cell, n);
    const [r0, r1] =
      count > TALL
        ? inSight(node.scrollTop, node.clientHeight || 600, size.row, count)
        : [0, count];
    const key = [c0, c1, r0, r1].join();
    if (!anew && key === painted) return;
    painted = key;
    const focused = node.matches(":focus-within");
    const made = [];
    for (let i = r0; i < r1; i++) made.push(makeRow(i, c0, c1));
    const { cell, row } = size;
    setSizes({
      from: c0 * cell,
      to: (n - c1) * cell,
      above: r0 * row,
      below: (count - r1) * row,
    });
    paintHeads(c0, c1);
    fill(body, ...made);
    fill(foot, totals && makeRow(count, c0, c1));
    markChosen();
    markActive(focused);
  }

  /** For the style sheet, in pixels. @param {Record<string, number>} sizes */
  function setSizes(sizes) {
    for (const [name, pixels] of Object.entries(sizes)) {
      grid.style.setProperty(`--${name}`, `${pixels}px`);
    }
  }

  function markChosen() {
    for (const row of body.children) {
      const is = /** @type {HTMLElement} */ (row).dataset.row === String(chosen);
      toggle(row, "chosen", is);
      set(row, { "aria-selected": String(is) });
    }
  }

  /** The active cell is the one tab stop; when it is out of sight, the box is. @param {boolean} focus */
  function markActive(focus) {
    stop.tabIndex = -1;
    /** @type {HTMLElement | null} */
    const cell = grid.querySelector(
      `[aria-rowindex="${active.i + 2}"] [aria-colindex="${active.c + 2}"]`,
    );
    stop = cell ?? node;
    stop.tabIndex = 0;
    if (focus) stop.focus({ preventScroll: true });
  }

  /** @param {number} i @param {number} c */
  function moveTo(i, c) {
    active = { i, c };
    const { cell, row, label, sum } = size;
    const right = (c + 1) * cell - (node.clientWidth - label - sum);
    const sticking = grid.offsetHeight - body.offsetHeight;
    const below = (i + 1) * row - (node.clientHeight - sticking);
    if (c < n) node.scrollLeft = clamp(node.scrollLeft, right, c * cell);
    if (i < page.shown.length) node.scrollTop = clamp(node.scrollTop, below, i * row);
    paint();
    markActive(true);
  }

  on(node, "keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = move(event);
    const { i, c } = active;
    const end = page.shown.length;
    if (step) moveTo(clamp(i + step[0], 0, totals ? end : end - 1), clamp(c + step[1], 0, last));
    else if (isChoice(event)) choose(i);
    else return;
    event.preventDefault();
  });
  on(grid, "click", ({ target }) => {
    const at = /** @type {Element} */ (target);
    /** Rows and columns count from 1 and have headers. @param {string} kind */
    const index = (kind) => Number(at.closest(`[${kind}]`)?.getAttribute(kind)) - 2;
    const [i, c] = [index("aria-rowindex"), index("aria-colindex")];
    if (i < 0) return;
    if (c >= 0) {
      active = { i, c };
      markActive(true);
    }
    choose(i);
  });
  on(node, "scroll", () => paint());

  function layout() {
    const room = node.clientWidth || 900;
    size = geometry(room, fontSize(node), names, tokens, totals);
    const { label, cell, head, sum } = size;
    const width = label + cell * n + sum;
    setSizes({ label, cell, head, width });
    toggle(grid, "upright", size.upright);
    toggle(node, "wider", width > room);
    paint(true);
  }

  return {
    node,
    layout,
    /** @param {Page} next */
    show(next) {
      page = next;
      const count = page.shown.length;
      set(grid, { "aria-rowcount": count + 2 });
      toggle(node, "tall", count > TALL);
      active.i = min(active.i, count - 1);
      if (node.isConnected) layout();
    },
    /** @param {number | null} row */
    choose(row) {
      chosen = row;
      markChosen();
    },
  };
}
