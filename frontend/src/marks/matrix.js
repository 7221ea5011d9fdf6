/** The mark *matrix*: a heatmap with totals, and the chosen row as bars under it. */
import { dropDown, fill, h } from "../dom.js";
import { formatter, largest, min, orderRows, withSums } from "../numbers.js";
import { plain } from "../text.js";
import { legend } from "./legend.js";
import { makeGrid } from "./matrix-grid.js";
import { rowDetail } from "./row-detail.js";

/**
 * @param {import("../spec").MatrixPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function matrix(panel, context) {
  const all = context.read(panel.values);
  const nRows = panel.rows.labels.length;
  const nColumns = panel.columns.labels.length;
  const kind = plain(panel.rows.title);
  const first = min(panel.top || nRows, nRows);
  const tops = [...new Set([10, 20, 50, first, nRows])]
    .filter((count) => count <= nRows)
    .sort((a, b) => a - b);
  /** What can be chosen above the grid: page, order, how many rows. @type {[string, string[]][]} */
  const lists = [
    [panel.pages?.label ?? "", panel.pages?.options ?? []],
    ["order", ["by |contribution|", "by layer"]],
    [`${kind}s`, tops.map((count) => `${count < nRows ? "top" : "all"} ${count}`)],
  ];
  const state = [0, panel.order === "layer" ? 1 : 0, tops.indexOf(first)];
  let chosen = /** @type {number | null} */ (null);

  const scale = h(".field.legend");
  const hint = h("p.dim");
  const detail = h();
  const grid = makeGrid(panel, context, (row) => context.select(row === chosen ? null : row));

  /** @type {import("./matrix-grid.js").Page} */
  let now;
  function show() {
    const [page, order, top] = state;
    const start = page * nRows * nColumns;
    const values = all.subarray(start, start + nRows * nColumns);
    const table = withSums(values, nRows, nColumns);
    const sums = panel.rows.labels.map((_, row) => table[row * (nColumns + 1) + nColumns]);
    const shown = orderRows(sums, order === 1, tops[top]);
    const most = largest(values);
    now = { table, shown, limit: panel.limit ?? most, write: formatter(most) };
    grid.show(now);
    fill(scale, ...legend(now.limit, panel.unit, now.write, context.colours));
    const some = shown.length < nRows ? `${shown.length} of ${nRows} ${kind}s; ` : "";
    hint.textContent = `${some}click or Enter: details; Esc: clear`;
    showDetail();
  }

  function showDetail() {
    const clear = () => context.select(null);
    const shows = panel.detail && chosen !== null;
    fill(
      detail,
      shows && rowDetail(panel, /** @type {number} */ (chosen), now, context.colours, clear),
    );
  }

  const tools = h(".tools");
  for (const [k, [label, options]] of lists.entries()) {
    const change = (/** @type {number} */ i) => {
      state[k] = i;
      show();
    };
    if (options.length > 1) tools.append(dropDown(label, options, state[k], change));
  }
  tools.append(scale);
  show();

  return {
    node: h("", {}, tools, grid.node, hint, detail),
    layout: grid.layout,
    select(row) {
      if (row === chosen) return;
      chosen = row;
      grid.choose(row);
      showDetail();
    },
  };
}
