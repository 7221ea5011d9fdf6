/** Numbers: how they are written, summed, ordered and coloured. */
import { format } from "d3-format";

/**
 * A formatter with a true minus and enough digits for values of this size.
 * @param {number} limit the largest |value| shown
 * @param {string} [sign] "+" to sign positive numbers too
 * @returns {(value: number) => string}
 */
export function formatter(limit, sign = "+") {
  const digits = 2 - Math.floor(Math.log10(limit > 0 && Number.isFinite(limit) ? limit : 1));
  const tiny = digits > 7 || digits < -6;
  const write = format(sign + (tiny ? ".2e" : `,.${Math.min(Math.max(digits, 0), 7)}f`));
  return (value) => {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "n/a" : write(value);
    const text = write(value);
    // "+0.00" and "−0.00" claim a sign that the shown digits do not have.
    return /[1-9]/.test(text) ? text : text.replace(/^[+\u2212]/, "");
  };
}

/**
 * A round number, as ticks are: without digits that say nothing, with a true minus.
 * @param {number} value
 */
export function brief(value) {
  return String(Number(value.toPrecision(6))).replace("-", "\u2212");
}

/** A fraction as a percentage. */
export const percent = format(".0%");

/**
 * Row and column sums of a matrix; NaN is padding and counts as nothing, but a sum of nothing but
 * NaN is NaN.
 * @param {ArrayLike<number>} values row-major
 * @param {number} nRows
 * @param {number} nColumns
 * @returns {{rows: Float64Array, columns: Float64Array, total: number}}
 */
export function totals(values, nRows, nColumns) {
  const rows = new Float64Array(nRows).fill(NaN);
  const columns = new Float64Array(nColumns).fill(NaN);
  let total = NaN;
  for (let r = 0; r < nRows; r++) {
    for (let c = 0; c < nColumns; c++) {
      const value = values[r * nColumns + c];
      if (Number.isNaN(value)) continue;
      rows[r] = (rows[r] || 0) + value;
      columns[c] = (columns[c] || 0) + value;
      total = (total || 0) + value;
    }
  }
  return { rows, columns, total };
}

/**
 * The largest finite |value|, 0 when there is none.
 * @param {ArrayLike<number>} values
 */
export function largest(values) {
  let result = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]);
    if (size > result && size < Infinity) result = size;
  }
  return result;
}

/**
 * Row numbers in the order they are shown. By contribution: |row total|, NaN last, ties as they were.
 * @param {ArrayLike<number>} rowTotals
 * @param {"contribution" | "layer"} order
 * @param {number | null} top how many, null for all
 * @returns {number[]}
 */
export function orderRows(rowTotals, order, top) {
  const rows = Array.from(rowTotals, (_, row) => row);
  const size = (/** @type {number} */ row) => Math.abs(rowTotals[row]);
  const bySize = [...rows].sort((a, b) => {
    if (Number.isNaN(size(a)) || Number.isNaN(size(b))) {
      return Number(Number.isNaN(size(a))) - Number(Number.isNaN(size(b)));
    }
    return size(b) - size(a);
  });
  const kept = top === null ? bySize : bySize.slice(0, top);
  // By layer, the strongest rows are kept as well, and only their order differs.
  return order === "layer" ? kept.sort((a, b) => a - b) : kept;
}

/**
 * The hue of a sign, as opaque CSS colour.
 * @param {number} value
 * @param {import("./spec").Colours} colours
 * @param {number} [opacity]
 */
export function hue(value, colours, opacity = 1) {
  const [r, g, b] = value < 0 ? colours.negative : colours.positive;
  return `rgba(${r},${g},${b},${Math.round(opacity * 1000) / 1000})`;
}

/**
 * Sign hue times opacity over whatever the theme's background is; zero is that background.
 * @param {number} value
 * @param {number} limit the |value| of full opacity
 * @param {import("./spec").Colours} colours
 */
export function cellColour(value, limit, colours) {
  const share = limit > 0 ? Math.min(1, Math.abs(value) / limit) : 0;
  return hue(value, colours, colours.max_opacity * (share || 0));
}
