/** The mark *lines*: series over x, each with its band where an interval is known. */
import { bisectCenter } from "d3-array";
import { bdi, h, svg } from "../dom.js";
import { step } from "../keys.js";
import { brief, formatter, largest } from "../numbers.js";
import { plain, roughWidth } from "../text.js";
import { drawFrame, makeFrame, plot } from "./axes.js";
import { classLetter } from "./classes.js";

/** Series are told apart by these dashes and by their letters; hue only helps. */
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 3", "4 2 1 2 1 2"];

/**
 * @typedef {object} Line
 * @property {string} letter
 * @property {string} label
 * @property {ArrayLike<number>} values
 * @property {ArrayLike<number> | null} low
 * @property {ArrayLike<number> | null} high
 * @property {string} dash
 * @property {string} colour
 */

/**
 * @param {import("../spec").LinesPanel} panel
 * @param {import("../spec").Context} context
 * @returns {Line[]}
 */
function readLines(panel, { read, colours }) {
  const hues = [
    `rgb(${colours.positive.join()})`,
    `rgb(${colours.negative.join()})`,
    "currentColor",
  ];
  return panel.series.map((series, k) => ({
    letter: classLetter(series.class) || String.fromCharCode(65 + (k % 26)),
    label: plain(series.label),
    values: read(series.values).values,
    low: series.low ? read(series.low).values : null,
    high: series.high ? read(series.high).values : null,
    dash: DASHES[k % DASHES.length],
    colour: hues[k % hues.length],
  }));
}

/**
 * A path through points, broken where a value is missing.
 * @param {[number, number][]} points
 * @returns {string}
 */
export function path(points) {
  let pen = "M";
  let result = "";
  for (const [x, y] of points) {
    if (!Number.isFinite(y)) pen = "M";
    else {
      result += `${pen}${x} ${y}`;
      pen = "L";
    }
  }
  return result;
}

/**
 * The band's outlines, one for every stretch without a gap.
 * @param {[number, number, number][]} points x, low, high
 * @returns {string}
 */
export function bandPath(points) {
  /** @type {[number, number, number][][]} */
  const stretches = [[]];
  for (const point of points) {
    if (point.every(Number.isFinite)) stretches[stretches.length - 1].push(point);
    else stretches.push([]);
  }
  return stretches
    .filter((stretch) => stretch.length > 1)
    .map((stretch) => {
      const back = [...stretch].reverse();
      const edge = [
        ...stretch.map(([x, low]) => `${x} ${low}`),
        ...back.map(([x, , high]) => `${x} ${high}`),
      ];
      return `M${edge.join("L")}Z`;
    })
    .join("");
}

/**
 * Moves labels apart so that none covers another, keeping their order.
 * @param {number[]} places wanted
 * @param {number} gap
 * @param {number} bottom
 * @returns {number[]}
 */
export function spread(places, gap, bottom) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const result = [...places];
  for (let k = 1; k < order.length; k++) {
    result[order[k]] = Math.max(result[order[k]], result[order[k - 1]] + gap);
  }
  let limit = bottom;
  for (const i of [...order].reverse()) {
    result[i] = Math.min(result[i], limit);
    limit = result[i] - gap;
  }
  return result;
}

/** @param {Line} line */
function sample({ dash, colour }) {
  const stroke = svg("line", {
    x1: 0,
    x2: 26,
    y1: 5,
    y2: 5,
    class: "fv-line",
    "stroke-dasharray": dash,
  });
  stroke.style.color = colour;
  return svg("svg", { class: "fv-sample", viewBox: "0 0 26 10", "aria-hidden": "true" }, stroke);
}

/** @param {Line[]} lines */
function lineList(lines) {
  const items = lines.map((line) => {
    return h("li", {}, sample(line), h("b", {}, bdi(line.letter)), " ", bdi(line.label));
  });
  return h("ul", { class: "fv-classes" }, ...items);
}

/**
 * @param {import("../spec").LinesPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function lines(panel, context) {
  const xs = Array.from(context.read(panel.x.values).values);
  const series = readLines(panel, context);
  const order = xs.map((_, i) => i).sort((a, b) => xs[a] - xs[b]);
  const sorted = order.map((i) => xs[i]);
  const ys = series.flatMap(({ values, low, high }) =>
    [values, low ?? [], high ?? []].flatMap((a) => [...Array.from(a)]),
  );
  const write = formatter(largest(ys), "");
  const unit = plain(panel.unit);
  const name = `${plain(panel.title) || "lines"}: ${series.map(({ label }) => label).join(", ")}`;
  /** @type {import("./axes.js").Frame} */
  let frame;
  let at = 0;
  const rule = svg("line", { class: "fv-rule", visibility: "hidden" });

  /** @param {Line} line */
  function drawLine({ values, low, high, dash, colour }) {
    const group = svg("g");
    group.style.color = colour;
    if (low && high) {
      const band = order.map(
        (i) =>
          /** @type {[number, number, number]} */ ([
            frame.x.at(xs[i]),
            frame.y.at(low[i]),
            frame.y.at(high[i]),
          ]),
      );
      group.append(svg("path", { class: "fv-band", d: bandPath(band) }));
    }
    const points = order.map(
      (i) => /** @type {[number, number]} */ ([frame.x.at(xs[i]), frame.y.at(values[i])]),
    );
    group.append(svg("path", { class: "fv-line", d: path(points), "stroke-dasharray": dash }));
    return group;
  }

  /** @param {number} em */
  function endLabels(em) {
    const ends = series.map(({ values }) => {
      const last = order.findLast((i) => Number.isFinite(values[i])) ?? order[0];
      return { x: frame.x.at(xs[last]), y: frame.y.at(values[last]) };
    });
    const places = spread(
      ends.map(({ y }) => y),
      1.15 * em,
      frame.inner.bottom,
    );
    return series.map(({ letter, colour }, k) => {
      const label = svg(
        "text",
        { class: "fv-endlabel", x: frame.inner.right + 0.4 * em, y: places[k], dy: ".32em" },
        letter,
      );
      label.style.color = colour;
      return label;
    });
  }

  /** @param {number} width @param {number} em */
  function draw(width, em) {
    const aside = (Math.max(...series.map(({ letter }) => roughWidth(letter)), 0) + 0.9) * em;
    frame = makeFrame({ width, em, xs, ys, aside, room: 0.03 });
    const { height } = frame;
    return svg(
      "svg",
      { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      drawFrame(frame, em),
      rule,
      ...series.map(drawLine),
      ...endLabels(em),
    );
  }

  /** @param {number} k place in the sorted x */
  function point(k) {
    at = k;
    const i = order[k];
    const x = frame.x.at(xs[i]);
    const { top, bottom } = frame.inner;
    for (const [key, value] of Object.entries({
      x1: x,
      x2: x,
      y1: top,
      y2: bottom,
      visibility: "visible",
    })) {
      rule.setAttribute(key, String(value));
    }
    const rows = series.map(({ letter, label, values, low, high }) => {
      const range = low && high ? ` (${write(low[i])} to ${write(high[i])})` : "";
      return h(
        "span",
        {},
        h("b", {}, bdi(letter)),
        " ",
        bdi(label),
        `: ${write(values[i])}${range}`,
      );
    });
    context.tip.show(rule, [`${plain(panel.x.title)} ${brief(xs[i])}`, ...rows]);
  }

  function leave() {
    rule.setAttribute("visibility", "hidden");
    context.tip.hide();
  }

  const xTitle = plain(panel.x.title);
  const view = plot({ name, yTitle: unit, xTitle, legend: lineList(series), draw });
  const { area } = view;
  area.tabIndex = 0;
  const { signal } = context;
  area.addEventListener(
    "pointermove",
    (event) => {
      const left = area.getBoundingClientRect().left;
      point(bisectCenter(sorted.map(frame.x.at), event.clientX - left));
    },
    { signal },
  );
  area.addEventListener("pointerleave", leave, { signal });
  area.addEventListener("focus", () => point(at), { signal });
  area.addEventListener("blur", leave, { signal });
  area.addEventListener(
    "keydown",
    (event) => {
      const to = step(event, at, sorted.length);
      if (to === null) return;
      event.preventDefault();
      point(to);
    },
    { signal },
  );
  return { node: view.node, layout: view.layout, select() {} };
}
