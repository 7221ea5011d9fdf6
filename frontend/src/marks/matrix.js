/** The mark *matrix*: a heatmap with totals, and the chosen row as bars under it. */
import { dropDown, h } from "../dom.js";
import { formatter, largest, orderRows, totals } from "../numbers.js";
import { plain } from "../text.js";
import { legend } from "./legend.js";
import { makeGrid } from "./matrix-grid.js";
import { rowDetail } from "./row-detail.js";

/**
 * @param {import("../spec").Numbers} numbers [row, column] or [page, row, column]
 * @returns {(page: number) => ArrayLike<number>}
 */
function pager({ values, shape }) {
  const size = shape.slice(-2).reduce((product, n) => product * n, 1);
  return (page) => values.subarray(page * size, (page + 1) * size);
}

/**
 * How many rows may be shown: round numbers, what the figure asks for, and all.
 * @param {number | null | undefined} asked
 * @param {number} count
 * @returns {(number | null)[]}
 */
function topChoices(asked, count) {
  const sizes = new Set([10, 20, 50, ...(asked ? [asked] : [])]);
  return [...[...sizes].filter((n) => n < count).sort((a, b) => a - b), null];
}

/**
 * Two buttons of which one is pressed.
 * @param {[string, string][]} options value and text
 * @param {string} chosen
 * @param {(value: string) => void} onChange
 */
function toggle(options, chosen, onChange) {
  const buttons = options.map(([value, text]) => {
    const button = h("button", { type: "button", "aria-pressed": String(value === chosen) }, text);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      onChange(value);
    });
    return button;
  });
  return h("div", { class: "fv-toggle", role: "group", "aria-label": "order of rows" }, ...buttons);
}

/**
 * @param {import("../spec").MatrixPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function matrix(panel, context) {
  const pageOf = pager(context.read(panel.values));
  const nRows = panel.rows.labels.length;
  const nColumns = panel.columns.labels.length;
  const title = plain(panel.rows.title);
  const tops = topChoices(panel.top, nRows);
  const state = {
    page: 0,
    order: panel.order ?? "contribution",
    top: tops.includes(panel.top ?? null) ? (panel.top ?? null) : null,
    chosen: /** @type {number | null} */ (null),
  };

  const scale = h("div", { class: "fv-scalebox" });
  const hint = h("p", { class: "fv-hint" });
  const detail = h("div", { class: "fv-detailbox" });
  const status = h("div", { class: "fv-unseen", role: "status" });
  const grid = makeGrid(panel, context, (row) => context.select(row === state.chosen ? null : row));

  /** @type {ReturnType<typeof current>} */
  let now;
  function current() {
    const values = pageOf(state.page);
    const sums = totals(values, nRows, nColumns);
    const limit = panel.limit ?? largest(values);
    const write = formatter(largest(values));
    return { values, sums, limit, write, shown: orderRows(sums.rows, state.order, state.top) };
  }

  function show() {
    now = current();
    grid.show(now);
    scale.replaceChildren(legend(now.limit, panel.unit, now.write, context.colours));
    const some = now.shown.length < nRows ? `${now.shown.length} of ${nRows} ${title}s; ` : "";
    hint.textContent = `${some}click or Enter: a ${title}\u2019s row; Esc: clear`;
    showDetail();
  }

  function showDetail() {
    const row = panel.detail === null ? null : state.chosen;
    detail.replaceChildren();
    if (row === null) return;
    const clear = () => context.select(null);
    detail.append(rowDetail({ panel, row, ...now, colours: context.colours, clear }));
  }

  const tools = h("div", { class: "fv-tools" });
  if (panel.pages) {
    const { label, options } = panel.pages;
    tools.append(
      dropDown(plain(label), options.map(plain), 0, (page) => {
        state.page = page;
        show();
      }),
    );
  }
  if (nRows > 1) {
    /** @type {[string, string][]} */
    const orders = [
      ["contribution", "by |contribution|"],
      ["layer", "by layer"],
    ];
    tools.append(
      toggle(orders, state.order, (order) => {
        state.order = order === "layer" ? "layer" : "contribution";
        show();
      }),
    );
  }
  if (tops.length > 1) {
    const names = tops.map((top) => (top === null ? `all ${nRows}` : `top ${top}`));
    tools.append(
      dropDown(`${title}s`, names, tops.indexOf(state.top), (i) => {
        state.top = tops[i];
        show();
      }),
    );
  }
  tools.append(scale);
  show();

  return {
    node: h("div", { class: "fv-matrix" }, tools, grid.node, hint, detail, status),
    layout: grid.layout,
    select(row) {
      if (row === state.chosen) return;
      state.chosen = row;
      grid.choose(row);
      showDetail();
      const name = row === null ? "" : plain(panel.rows.labels[row]);
      status.textContent =
        row === null ? "selection cleared" : `${name} selected, its row is below`;
    },
  };
}
