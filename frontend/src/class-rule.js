/**
 * The class rule of `factviz/results/class_rule.py`, so that a figure can move the threshold by
 * itself. The tests run both on the same cases.
 */
import { abs, min, sum } from "./numbers.js";

/**
 * The class of one head, null where it has none. Above τ = 1 at most one of the first two holds, and where neither does the
 * ratio is inside.
 * @param {number} subject mean DLA from subject tokens, logits
 * @param {number} relation the same from relation tokens
 * @param {unknown} eligible whether the head is large enough to have a class
 * @param {unknown} above whether both intervals lie above 0
 * @param {number} mixed the least of each, for a mixed head
 * @param {number} threshold τ
 */
export function classOf(subject, relation, eligible, above, mixed, threshold) {
  if (!eligible) return null;
  if (subject > 0 && subject >= threshold * abs(relation)) return "subject";
  if (relation > 0 && relation >= threshold * abs(subject)) return "relation";
  if (above && min(subject, relation) >= mixed) return "mixed";
  return subject + relation < 0 ? "suppressing" : null;
}

/**
 * One option's panels as they are under another threshold: points take their classes, bars that
 * count classes their numbers. Under the threshold that the figure came with nothing changes.
 * @param {any[]} panels
 * @param {number | undefined} threshold
 * @param {import("./spec").Context["read"]} read
 * @returns {any[]}
 */
export function reclassify(panels, threshold, read) {
  const plane = panels.find(({ rule }) => rule);
  if (!threshold || threshold === plane?.rule.threshold) return panels;
  const { x, y, rule } = plane;
  const refs = [x.values, y.values, rule.eligible, rule.above, rule.size];
  const [subject, relation, eligible, above, size] = refs.map((ref) => [...read(ref)]);
  const classes = size.map((_, i) =>
    classOf(subject[i], relation[i], eligible[i], above[i], rule.mixed, threshold),
  );
  return panels.map((panel) => {
    if (panel === plane) return { ...panel, classes };
    if (!panel.counts) return panel;
    /** @type {number[][]} the sizes of the heads of each class */
    const sizes = panel.counts.map((/** @type {string | null} */ name) =>
      size.filter((_, i) => classes[i] === name),
    );
    return {
      ...panel,
      // Only the number in "subject: 3" changes.
      labels: sizes.map((some, k) => panel.labels[k].replace(/\d+$/, some.length)),
      values: sizes.map((some) => (100 * sum(some)) / (sum(size) || 1)),
    };
  });
}
