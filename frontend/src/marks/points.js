/** The mark *points*: a scatter plot whose classes have letter and shape. */
import { set, svg } from "../dom.js";
import { finite, formatter, largest } from "../numbers.js";
import { isolate, plain, withUnit } from "../text.js";
import { choosable } from "./choosable.js";
import { classLetter, classList, classMark } from "./classes.js";
import { plot } from "./plot.js";

/**
 * @param {import("../spec").PointsPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function points({ title, x, y, labels, keys, classes }, { read, colours, select }) {
  const axes = [x, y].map(({ title, unit, values }) => {
    const numbers = [...read(values)];
    const write = formatter(largest(numbers));
    const name = plain(title);
    return {
      numbers,
      title: name + (unit ? ` (${plain(unit)})` : ""),
      words: (/** @type {number} */ i) => `${name} ${withUnit(write(numbers[i]), unit)}`,
    };
  });
  const [xs, ys] = axes.map(({ numbers }) => numbers);
  const drawn = labels.map((_, i) => i).filter((i) => finite(xs[i]) && finite(ys[i]));
  // What has none of the three classes lies under what has; then from left to right.
  const letters = labels.map((_, i) => classLetter(classes?.[i]));
  const rank = (/** @type {number} */ i) => Number(/[SRM]/.test(letters[i]));
  drawn.sort((a, b) => rank(a) - rank(b) || xs[a] - xs[b]);

  const marks = drawn.map((i) => {
    const name = [labels[i], classes?.[i]].filter(Boolean).map(plain);
    const words = axes.map((axis) => axis.words(i));
    const attributes = {
      role: keys ? "button" : "img",
      label: [...name, ...words].join(", "),
      tip: [name.map(isolate).join(", "), ...words].join("\n"),
    };
    const faint = classes && !letters[i];
    return svg(faint ? "g.point.other" : "g.point", attributes, ...classMark(letters[i], colours));
  });
  const show = choosable(
    marks,
    "aria-pressed",
    keys ? (k) => select(drawn[k ?? -1] ?? null) : null,
  );
  const legend = classes && classList(classes, colours);
  const { node, layout } = plot(plain(title), axes, legend, ({ x, y }) => {
    for (const [k, i] of drawn.entries()) {
      set(marks[k], { transform: `translate(${x.at(xs[i])} ${y.at(ys[i])})` });
    }
    return marks;
  });
  return { node, layout, select: (row) => show(drawn.indexOf(row ?? -1)) };
}
