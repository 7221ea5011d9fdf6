/** Numbers: how they are written, summed, ordered and coloured. */

export const { isFinite: finite, isNaN: missing } = Number;
export const { abs, floor, max, min, round } = Math;

const MINUS = "\u2212";

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => max(low, min(value, high));

/**
 * A formatter with a true minus and enough digits for values of this size. What rounds to zero has
 * no sign, because the shown digits have none.
 * @param {number} limit the largest |value| shown
 * @param {boolean} [plus] whether positive values get their sign
 * @returns {(value: number) => string}
 */
export function formatter(limit, plus = true) {
  const size = limit && floor(Math.log10(limit));
  const digits = clamp(2 - size, size < 2 ? 2 : 0, 7);
  return (value) => {
    if (missing(value)) return "no value";
    const far = abs(size) > 5;
    const text = far ? abs(value).toExponential(2) : abs(value).toFixed(digits);
    const sign = /[1-9I]/.test(text) ? (value < 0 ? MINUS : plus ? "+" : "") : "";
    return sign + text.replace("-", MINUS);
  };
}

/**
 * A round number, as ticks are: without digits that say nothing, with a true minus.
 * @param {number} value
 */
export const brief = (value) => String(+value.toPrecision(6)).replace("-", MINUS);

/**
 * A matrix with one more column, its row sums, and one more row, its column sums. NaN is padding and
 * counts as nothing, but a sum of nothing but NaN is NaN.
 * @param {ArrayLike<number>} values row-major
 * @param {number} nRows
 * @param {number} nColumns
 * @returns {Float64Array} row-major
 */
export function withSums(values, nRows, nColumns) {
  const width = nColumns + 1;
  const table = new Float64Array((nRows + 1) * width).fill(NaN);
  for (let i = 0; i < nRows * nColumns; i++) {
    if (missing(values[i])) continue;
    const c = i % nColumns;
    const row = ((i - c) / nColumns) * width;
    const sums = nRows * width;
    for (const at of [row + c, row + nColumns, sums + c, sums + nColumns]) {
      table[at] = (table[at] || 0) + values[i];
    }
  }
  return table;
}

/**
 * Round numbers from `low` to `high`, about `count` of them.
 * @param {number} low
 * @param {number} high
 * @param {number} count
 * @returns {number[]}
 */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((nice) => nice * power >= rough) ?? 10);
  // 0.3 / 0.1 is a little less than 3.
  const first = Math.ceil(low / step - 1e-9);
  const length = floor(high / step + 1e-9) - first + 1;
  return Array.from({ length }, (_, k) => (first + k) * step);
}

/**
 * An interval in words, "" where it is not known.
 * @param {number[]} ends
 * @param {(value: number) => string} write
 */
export const interval = (ends, write) => (ends.every(finite) ? ends.map(write).join(" to ") : "");

/** @param {number[]} values */
export const sum = (values) => values.reduce((all, value) => all + value, 0);

/**
 * The largest finite |value|, 0 when there is none.
 * @param {Iterable<number>} values
 */
export function largest(values) {
  let most = 0;
  for (const value of values) if (finite(value)) most = max(most, abs(value));
  return most;
}

/**
 * Row numbers in the order they are shown. By contribution: |row sum|, NaN last, ties as they were.
 * By layer, the same strongest rows are kept, and only their order differs.
 * @param {number[]} sums
 * @param {boolean} byLayer
 * @param {number} top how many
 * @returns {number[]}
 */
export function orderRows(sums, byLayer, top) {
  const sizes = sums.map((sum) => (missing(sum) ? -1 : abs(sum)));
  const rows = sizes.map((_, row) => row).sort((a, b) => sizes[b] - sizes[a]);
  const kept = rows.slice(0, top);
  return byLayer ? kept.sort((a, b) => a - b) : kept;
}

/**
 * A colour of the figure as CSS. Numbers only: a saved file may hold anything.
 * @param {import("./spec").Rgb} rgb
 * @param {number} [opacity]
 */
export const css = (rgb, opacity = 1) => `rgba(${rgb.map(Number).join()},${opacity.toFixed(3)})`;

/**
 * Sign hue times opacity over whatever the theme's background is; zero is that background.
 * @param {number} value
 * @param {number} limit the |value| of full opacity
 * @param {import("./spec").Colours} colours
 */
export function cellColour(value, limit, { positive, negative, max_opacity }) {
  const share = limit && min(1, abs(value) / limit);
  return css(value < 0 ? negative : positive, max_opacity * (share || 0));
}
