/** The mark *points*: a scatter plot whose classes have letter and shape. */
import { bdi, h, svg } from "../dom.js";
import { formatter, largest } from "../numbers.js";
import { plain } from "../text.js";
import { drawFrame, makeFrame, plot } from "./axes.js";
import { choosable } from "./choosable.js";
import { classColour, classLetter, classList, classMark } from "./classes.js";

/**
 * @param {import("../spec").PointsPanel} panel
 * @param {import("../spec").Context} context
 * @returns {import("../spec").View}
 */
export function points(panel, { read, colours, tip, signal, select }) {
  const xs = Array.from(read(panel.x.values).values);
  const ys = Array.from(read(panel.y.values).values);
  const writers = [formatter(largest(xs)), formatter(largest(ys))];
  const drawn = xs.map((_, i) => i).filter((i) => Number.isFinite(xs[i]) && Number.isFinite(ys[i]));
  drawn.sort((a, b) => xs[a] - xs[b]);
  const titleOf = (/** @type {import("../spec").PointsAxis} */ { title, unit }) =>
    plain(title) + (unit ? ` (${plain(unit)})` : "");

  /** @param {number} i */
  const facts = (i) => [
    plain(panel.labels[i]) + (panel.classes?.[i] ? `, ${plain(panel.classes[i])}` : ""),
    `${plain(panel.x.title)} ${writers[0](xs[i])} ${plain(panel.x.unit)}`.trim(),
    `${plain(panel.y.title)} ${writers[1](ys[i])} ${plain(panel.y.unit)}`.trim(),
  ];

  const marks = drawn.map((i) => {
    const letter = panel.classes ? classLetter(panel.classes[i]) : "";
    const attributes = {
      class: "fv-point",
      role: panel.keys ? "button" : "img",
      "aria-label": facts(i).join(", "),
    };
    const mark = svg("g", attributes);
    if (panel.classes) mark.append(...classMark(letter, classColour(letter, colours)));
    else mark.append(svg("circle", { r: 4.5, class: "fv-shape" }));
    const show = () => {
      const [name, ...rest] = facts(i);
      tip.show(mark, [h("b", {}, bdi(name)), ...rest]);
    };
    for (const kind of ["pointerenter", "focus"]) mark.addEventListener(kind, show, { signal });
    for (const kind of ["pointerleave", "blur"]) mark.addEventListener(kind, tip.hide, { signal });
    return mark;
  });

  /** @param {number} width @param {number} em */
  function draw(width, em) {
    const frame = makeFrame({ width, em, xs, ys, room: 0.06 });
    for (const [k, i] of drawn.entries()) {
      marks[k].setAttribute("transform", `translate(${frame.x.at(xs[i])} ${frame.y.at(ys[i])})`);
    }
    const { height } = frame;
    const size = { width, height, viewBox: `0 0 ${width} ${height}` };
    return svg("svg", { ...size, role: "presentation" }, drawFrame(frame, em), ...marks);
  }

  const onChoose = panel.keys
    ? (/** @type {number | null} */ k) => select(k === null ? null : drawn[k])
    : null;
  const show = choosable(marks, { signal, state: "aria-pressed", onChoose });
  show(null);
  const view = plot({
    name: plain(panel.title) || `${plain(panel.y.title)} over ${plain(panel.x.title)}`,
    yTitle: titleOf(panel.y),
    xTitle: titleOf(panel.x),
    legend: panel.classes ? classList(panel.classes, colours) : null,
    draw,
  });
  return {
    node: view.node,
    layout: view.layout,
    select: (row) => show(row === null ? null : drawn.indexOf(row)),
  };
}
