/** The matrix mark's arithmetic: groups of columns, sizes, and what of it is in sight. */
import { clamp, floor, min, round } from "../numbers.js";
import { plain, roughWidth } from "../text.js";

/**
 * The group of each column, "" for none; of two groups, the first.
 * @param {import("../spec").MatrixPanel["columns"]} columns
 * @returns {string[]}
 */
export function groupOf({ labels, groups }) {
  const of = labels.map(() => "");
  for (const { name, positions } of groups ?? []) {
    for (const position of positions) of[position] ||= plain(name);
  }
  return of;
}

/**
 * @typedef {object} Geometry all in pixels
 * @property {number} label width of the row labels
 * @property {number} cell width of a column
 * @property {number} sum width of the totals
 * @property {number} row height of a row
 * @property {number} head height of the column labels
 * @property {boolean} upright whether column labels are turned to stand upright
 * @property {boolean} numbers whether cells have room for their value
 */

/**
 * Columns share the room there is; when that is too little, they keep a usable width and the matrix
 * scrolls in its own box.
 * @param {number} width the room
 * @param {number} em the font size
 * @param {string[]} rowLabels
 * @param {string[]} columnLabels
 * @param {boolean} withTotals
 * @returns {Geometry}
 */
export function geometry(width, em, rowLabels, columnLabels, withTotals) {
  const label = clamp((roughWidth(rowLabels) + 1.4) * em, 4.6 * em, min(16 * em, width / 3));
  const sum = withTotals ? 4.8 * em : 0;
  const room = floor((width - label - sum - 1) / columnLabels.length);
  const cell = room < 1.8 * em ? 2.2 * em : min(room, 6.2 * em);
  const inside = cell / em - 0.5;
  const most = roughWidth(columnLabels);
  const wide = columnLabels.filter((text) => roughWidth([text]) > inside).length;
  // Up to three in ten labels may take two lines; else all are turned.
  const upright = most > 1.8 * inside || wide > 0.3 * columnLabels.length;
  const head = upright ? min(most + 1, 9) : wide ? 3 : 1.7;
  return {
    label,
    cell: round(cell),
    sum,
    row: 1.85 * em,
    head: head * em,
    upright,
    numbers: cell >= 3.2 * em,
  };
}

/**
 * The items in sight, in whole blocks and one block beyond at either side, so that scrolling seldom
 * changes the answer.
 * @param {number} scroll
 * @param {number} view
 * @param {number} size
 * @param {number} count
 * @returns {[number, number]} from (inclusive), to (exclusive)
 */
export function inSight(scroll, view, size, count) {
  const block = 8;
  const from = (floor(scroll / size / block) - 1) * block;
  const to = (Math.ceil((scroll + view) / size / block) + 1) * block;
  return [clamp(from, 0, count), clamp(to, 0, count)];
}
