/** A chosen row of a matrix: what it took from each source token. */
import { bdi, h } from "../dom.js";
import { percent } from "../numbers.js";
import { plain, token } from "../text.js";
import { barList } from "./bar-list.js";
import { groupRuns } from "./matrix-layout.js";

/** More bars than this say less, so the weakest are summed up in one line. */
const MOST = 32;

/**
 * @param {object} options
 * @param {import("../spec").MatrixPanel} options.panel
 * @param {number} options.row
 * @param {ArrayLike<number>} options.values the page, row-major
 * @param {{rows: Float64Array}} options.sums
 * @param {(value: number) => string} options.write
 * @param {import("../spec").Colours} options.colours
 * @param {() => void} options.clear
 */
export function rowDetail({ panel, row, values, sums, write, colours, clear }) {
  const count = panel.columns.labels.length;
  const groups = groupRuns(panel.columns.groups ?? [], count).of;
  const all = Array.from({ length: count }, (_, c) => ({
    c,
    value: values[row * count + c],
  })).filter(({ value }) => !Number.isNaN(value));
  const whole = all.reduce((sum, { value }) => sum + Math.abs(value), 0);
  const strongest = [...all].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, MOST);
  const bars = strongest
    .sort((a, b) => a.c - b.c)
    .map(({ c, value }) => ({
      before: String(c),
      label: token(panel.columns.labels[c]),
      name: `"${plain(panel.columns.labels[c])}"`,
      group: plain(groups[c]),
      value,
      share: whole > 0 ? percent(Math.abs(value) / whole) : "",
    }));

  const name = plain(panel.rows.labels[row]);
  const unit = plain(panel.unit);
  const title = `${name}: contribution by ${plain(panel.columns.title)}`;
  const { node } = barList(bars, { title, unit, colours, write });
  const button = h(
    "button",
    { type: "button", class: "fv-clear", "aria-label": "clear selection" },
    "\u00d7",
  );
  button.addEventListener("click", clear);
  const rest = all.length - bars.length;
  const kept = strongest.reduce((sum, { value }) => sum + value, 0);
  const note =
    rest > 0 ? `${rest} weaker tokens together: ${write(sums.rows[row] - kept)} ${unit}. ` : "";
  return h(
    "section",
    { class: "fv-detail", "aria-label": title },
    h(
      "div",
      { class: "fv-detailhead" },
      h("b", {}, bdi(name)),
      h("span", {}, `total ${write(sums.rows[row])} ${unit}`),
      button,
    ),
    node,
    h("p", { class: "fv-hint" }, `${note}share: of the row\u2019s summed |contributions|`),
  );
}
