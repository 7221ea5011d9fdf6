/** The mark *lines*: series over x, each with its band where an interval is known. */
import { box, on, set, svg } from "../dom.js";
import { along } from "../keys.js";
import { abs, brief, css, finite, formatter, interval, largest, max, min } from "../numbers.js";
import { isolate, plain } from "../text.js";
import { classLetter, keyList } from "./classes.js";
import { plot } from "./plot.js";

/** Series are told apart by these dashes and by their letters; hue only helps. */
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

/**
 * Stretches of points without a gap.
 * @param {number[][]} points
 * @returns {number[][][]}
 */
export function stretches(points) {
  /** @type {number[][][]} */
  const result = [[]];
  for (const point of points) {
    if (point.every(finite)) result.at(-1)?.push(point);
    else result.push([]);
  }
  return result.filter((stretch) => stretch.length);
}

/** @param {number[][]} points x, y @returns {string} a path, broken where a value is missing */
export const linePath = (points) =>
  stretches(points)
    .map((stretch) => `M${stretch.join("L")}`)
    .join("");

/** @param {number[][]} points x, low, high @returns {string} the outline of every stretch */
export const bandPath = (points) =>
  stretches(points)
    .map((stretch) => {
      const there = stretch.map(([x, low]) => [x, low]);
      const back = stretch.map(([x, , high]) => [x, high]).reverse();
      return `M${[...there, ...back].join("L")}Z`;
    })
    .join("");

/**
 * Moves labels down as far as needed that none covers another, keeping their order.
 * @param {number[]} places wanted
 * @param {number} gap
 * @returns {number[]}
 */
export function spread(places, gap) {
  const result = [...places];
  let free = -Infinity;
  for (const i of places.map((_, i) => i).sort((a, b) => places[a] - places[b])) {
    result[i] = max(places[i], free);
    free = result[i] + gap;
  }
  return result;
}

/**
 * @param {import("../spec").LinesPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function lines({ title, unit, x, series }, { read, colours, tip }) {
  /** @param {import("../spec").Ref | null | undefined} ref */
  const numbers = (ref) => [...read(ref)];
  const xs = numbers(x.values);
  const hues = [css(colours.positive), css(colours.negative), "inherit"];
  const all = series.map((one, k) => ({
    letter: classLetter(one.class) || "ABCDEFGH"[k % 8],
    label: plain(one.label),
    values: numbers(one.values),
    low: numbers(one.low),
    high: numbers(one.high),
    stroke: { "stroke-dasharray": DASHES[k % DASHES.length] },
    style: `color:${hues[k % hues.length]}`,
  }));
  const ys = all.flatMap(({ values, low, high }) => [...values, ...low, ...high]);
  const write = formatter(largest(ys));
  const rule = svg("path.rule");
  /** @type {import("./plot.js").Frame} */
  let frame;
  let at = 0;

  const legend = keyList(
    all.map(({ letter, label, stroke, style }) => [
      svg(
        "svg.icon",
        { viewBox: "0 0 26 10" },
        svg("path.line", { ...stroke, style, d: "M0 5H26" }),
      ),
      letter,
      label,
    ]),
  );

  /** @param {import("./plot.js").Frame} now */
  function draw(now) {
    frame = now;
    const { x, y, right, em } = frame;
    const ends = all.map(({ values }) => y.at(values.findLast(finite) ?? 0));
    const places = spread(ends, 1.15 * em);
    /** @param {number[][]} columns @returns {number[][]} x and these, in pixels */
    const points = (...columns) =>
      xs.map((value, i) => [x.at(value), ...columns.map((column) => y.at(column[i]))]);
    const drawn = all.map(({ values, low, high, stroke, style, letter }, k) =>
      svg(
        "g",
        { style },
        svg("path.band", { d: bandPath(points(low, high)) }),
        svg("path.line", { ...stroke, d: linePath(points(values)) }),
        svg("text.end", { x: right + 0.4 * em, y: places[k] }, letter),
      ),
    );
    return [rule, ...drawn];
  }

  /** Shows the values at one x. @param {number} i */
  function point(i) {
    at = i;
    set(rule, { d: `M${frame.x.at(xs[i])} ${frame.top}V${frame.bottom}` });
    const rows = all.map(({ letter, label, values, low, high }) => {
      const range = interval([low[i], high[i]], write);
      return `${letter} ${isolate(label)}: ${write(values[i])}${range && ` (${range})`}`;
    });
    tip.show(rule, [`${plain(x.title)} ${brief(xs[i])}`, ...rows].join("\n"));
  }

  const name = `${plain(title)}: ${all.map(({ label }) => label).join(", ")}`;
  const axes = [
    { title: plain(x.title), numbers: xs },
    { title: plain(unit), numbers: ys },
  ];
  const view = plot(name, axes, legend, draw);
  const { area } = view;
  area.tabIndex = 0;
  on(area, "pointermove", (/** @type {PointerEvent} */ event) => {
    const left = event.clientX - box(area).left;
    const away = xs.map((x) => abs(frame.x.at(x) - left));
    point(away.indexOf(min(...away)));
  });
  on(area, "focus", () => point(at));
  on(area, "keydown", (/** @type {KeyboardEvent} */ event) => {
    const next = along(event, at, xs.length);
    if (next === undefined) return;
    event.preventDefault();
    point(next);
  });
  return { node: view.node, layout: view.layout };
}
