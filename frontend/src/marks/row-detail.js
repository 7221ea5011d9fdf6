/** A chosen row of a matrix: what it took from each source token. */
import { bdi, h, on } from "../dom.js";
import { abs, missing, round, sum } from "../numbers.js";
import { plain, token } from "../text.js";
import { barList } from "./bar-list.js";
import { groupOf } from "./matrix-layout.js";

/** More bars than this say less, so the weakest are summed up in one line. */
const MOST = 32;

/**
 * @param {import("../spec").MatrixPanel} panel
 * @param {number} row
 * @param {import("./matrix-grid.js").Page} page
 * @param {import("../spec").Colours} colours
 * @param {() => void} clear
 */
export function rowDetail(
  { rows, columns, unit: unitText, totals = true },
  row,
  page,
  colours,
  clear,
) {
  const { table, write } = page;
  const count = columns.labels.length;
  const groups = groupOf(columns);
  const at = (/** @type {number} */ c) => table[row * (count + 1) + c];
  const all = columns.labels.map((_, c) => c).filter((c) => !missing(at(c)));
  const size = (/** @type {number} */ c) => abs(at(c));
  const whole = sum(all.map(size)) || 1;
  const kept = [...all].sort((a, b) => size(b) - size(a)).slice(0, MOST);
  const bars = kept
    .sort((a, b) => a - b)
    .map((c) => ({
      before: String(c),
      label: token(columns.labels[c]),
      name: `"${plain(columns.labels[c])}"`,
      group: groups[c],
      value: at(c),
      share: `${round((size(c) / whole) * 100)}%`,
    }));

  const name = plain(rows.labels[row]);
  const unit = plain(unitText);
  const title = `${name}: contribution by ${plain(columns.title)}`;
  const button = h("button", { label: "clear selection" }, "\xd7");
  on(button, "click", clear);
  const total = at(count);
  const rest = total - sum(kept.map(at));
  const weaker = all.length - kept.length;
  const note = weaker ? `${weaker} weaker${totals ? `: ${write(rest)} ${unit}` : ""}. ` : "";
  return h(
    "section.detail",
    { label: title },
    h(".detailhead", {}, h("b", {}, bdi(name)), totals && `total ${write(total)} ${unit}`, button),
    barList(bars, title, unit, colours).node,
    h("p.dim", {}, `${note}share: of all |values|`),
  );
}
