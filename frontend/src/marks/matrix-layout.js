/** The matrix mark's arithmetic: groups of columns, sizes, and what of it is in sight. */
import { roughWidth } from "../text.js";

/**
 * Runs of neighbouring columns with the same group: one bracket for each.
 * @param {{name: string, positions: number[]}[]} groups
 * @param {number} count
 * @returns {{of: string[], runs: {name: string, start: number, stop: number}[]}}
 */
export function groupRuns(groups, count) {
  const of = Array(count).fill("");
  for (const { name, positions } of groups) {
    for (const position of positions) if (of[position] === "") of[position] = name;
  }
  const runs = [];
  for (let start = 0, stop; start < count; start = stop) {
    for (stop = start + 1; stop < count && of[stop] === of[start]; ) stop++;
    if (of[start]) runs.push({ name: of[start], start, stop });
  }
  return { of, runs };
}

/**
 * @typedef {object} Geometry
 * @property {number} label width of the row labels
 * @property {number} cell width of a column
 * @property {number} sum width of the totals
 * @property {number} row height of a row
 * @property {number} head height of the column labels
 * @property {boolean} upright whether column labels are turned to stand upright
 * @property {boolean} numbers whether cells have room for their value
 */

/**
 * Sizes in pixels. Columns share the room there is; when that is too little, they keep a usable
 * width and the matrix scrolls in its own box.
 * @param {number} width the room
 * @param {number} em the font size
 * @param {string[]} rowLabels
 * @param {string[]} columnLabels
 * @param {boolean} withTotals
 * @returns {Geometry}
 */
export function geometry(width, em, rowLabels, columnLabels, withTotals) {
  const longest = (/** @type {string[]} */ labels) =>
    labels.reduce((most, label) => Math.max(most, roughWidth(label)), 0) * em;
  const label = Math.min(
    Math.max(longest(rowLabels) + 1.4 * em, 4.6 * em),
    Math.min(12 * em, width / 3),
  );
  const sum = withTotals ? 4.6 * em : 0;
  const room = Math.floor((width - label - sum - 1) / Math.max(columnLabels.length, 1));
  const cell = room >= 1.8 * em ? Math.min(room, Math.round(5.4 * em)) : Math.round(2.2 * em);
  const inside = cell - 0.5 * em;
  const fitting = columnLabels.filter((text) => roughWidth(text) * em <= inside).length;
  const most = longest(columnLabels);
  const upright = most > 1.9 * inside || fitting < 0.7 * columnLabels.length;
  const lines = most > inside ? 2 : 1;
  const head = upright ? Math.min(most + 0.9 * em, 9 * em) : (lines * 1.3 + 0.4) * em;
  return {
    label: Math.round(label),
    cell,
    sum: Math.round(sum),
    row: Math.round(1.85 * em),
    head: Math.round(head),
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
  const from = (Math.floor(scroll / size / block) - 1) * block;
  const to = (Math.ceil((scroll + view) / size / block) + 1) * block;
  return [Math.min(Math.max(0, from), count), Math.min(to, count)];
}
