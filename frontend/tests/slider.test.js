import { beforeEach, describe, expect, test } from "vitest";
import { decodeBase64 } from "../src/arrays.js";
import { classOf } from "../src/class-rule.js";
import { mount, render } from "../src/index.js";
import cases from "./class-rule.json";
import { FakeModel, find, findAll, press } from "./figures.js";

/** @type {{figure: any, rules: any[], shown: any[]}} */
const { figure, rules, shown } = cases;

beforeEach(() => document.body.replaceChildren());

/** A saved figure of head classes, as Python made it. */
function mounted(change = (/** @type {any} */ spec) => spec) {
  const root = document.createElement("div");
  const data = document.createElement("script");
  data.type = "application/json";
  data.textContent = JSON.stringify({ ...figure, spec: change(structuredClone(figure.spec)) });
  root.append(data);
  document.body.append(root);
  mount(root);
  return root;
}

/** @param {ParentNode} root */
const slider = (root) => /** @type {HTMLInputElement} */ (find(root, "input[type=range]"));

/** @param {ParentNode} root @param {number} threshold */
function moveTo(root, threshold) {
  const input = slider(root);
  input.value = String(Math.round(100 * Math.log10(threshold)));
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** @param {ParentNode} root @param {number} option */
function choose(root, option) {
  const select = /** @type {HTMLSelectElement} */ (find(root, "select[aria-label=relation]"));
  select.selectedIndex = option;
  select.dispatchEvent(new Event("change"));
}

/** What a figure shows: how many points of each class, and the bars. @param {ParentNode} root */
function seen(root) {
  const classes = findAll(root, ".fv-point").map(
    (point) => (point.getAttribute("aria-label") ?? "").split(", ").slice(1, -2)[0] ?? null,
  );
  const bars = findAll(root, "[role=listitem]").map((bar) => bar.getAttribute("aria-label") ?? "");
  return { classes: classes.sort(), bars };
}

/** What it should show. @param {{classes: (string | null)[], labels: string[], values: number[]}} option */
function wanted({ classes, labels, values }) {
  // A share has as many digits as the largest one needs.
  const digits = Math.max(...values) >= 10 ? 2 : 3;
  const bars = labels.map((label, k) => `${label}: ${values[k].toFixed(digits)} %`);
  return { classes: [...classes].sort(), bars };
}

test.each(rules)("the rule is Python's, at τ = $threshold", (one) => {
  const found = one.classes.map((/** @type {unknown} */ _, /** @type {number} */ i) =>
    classOf(
      one.subject[i],
      one.relation[i],
      one.eligible[i],
      one.above[i],
      one.mixed,
      one.threshold,
    ),
  );
  expect(found).toEqual(one.classes);
  expect(new Set(found).size).toBeGreaterThan(3);
});

test("a head without numbers has no class", () => {
  expect(classOf(NaN, 1, 1, 1, 0.05, 10)).toBe(null);
});

describe("a figure of head classes", () => {
  test.each(shown)("shows what Python says at τ = $threshold, for every relation", (one) => {
    const root = mounted();
    moveTo(root, one.threshold);
    for (const [k, option] of one.options.entries()) {
      // The threshold stays when another relation is chosen.
      choose(root, k);
      expect(seen(root)).toEqual(wanted(option));
    }
  });

  test("letters, shapes and the legend follow", () => {
    const root = mounted();
    const letters = () => findAll(root, ".fv-point").map((point) => point.textContent);
    const shapes = () => findAll(root, ".fv-point path").map((path) => path.getAttribute("d"));
    const before = [letters(), shapes(), find(root, ".fv-classes").textContent];
    moveTo(root, 1.02);
    expect(letters().filter((letter) => letter === "M")).toEqual([]);
    expect(find(root, ".fv-classes").textContent).not.toContain("mixed");
    expect(shapes()).not.toEqual(before[1]);
    moveTo(root, 10);
    expect([letters(), shapes(), find(root, ".fv-classes").textContent]).toEqual(before);
  });

  test("what has no class is drawn faintly", () => {
    const root = mounted();
    const faint = findAll(root, ".fv-point.fv-other").map((point) => point.textContent);
    expect(faint.length).toBeGreaterThan(0);
    expect(faint.join("")).toBe("");
  });

  test("the slider says its name and value, and marks 3 and 10", () => {
    const root = mounted();
    const input = slider(root);
    expect(input.getAttribute("aria-label")).toBe("threshold");
    expect(input.ariaValueText).toBe("10");
    expect(findAll(root, ".fv-slide span span").map((tick) => tick.textContent)).toEqual([
      "3",
      "10",
    ]);
    moveTo(root, 3);
    expect(input.ariaValueText).toBe("3");
    expect(find(root, ".fv-field b").textContent).toBe("3");
    moveTo(root, Number(10 ** (Number(input.min) / 100)));
    expect(Number(input.ariaValueText)).toBeGreaterThan(1);
    input.value = input.max;
    input.dispatchEvent(new Event("input"));
    expect(Number(input.ariaValueText)).toBeGreaterThanOrEqual(30);
  });

  test.each([1.004, 4.7, 250])("begins where the result is, at τ = %s", (threshold) => {
    const root = mounted((spec) => {
      for (const [plane] of spec.panels) plane.rule.threshold = threshold;
      return spec;
    });
    expect(slider(root).ariaValueText).toBe(String(threshold));
    const before = seen(root);
    moveTo(root, 3);
    moveTo(root, threshold);
    expect(slider(root).ariaValueText).toBe(String(threshold));
    // Under its own threshold the figure is as it came.
    expect(seen(root)).toEqual(before);
  });

  test("its keys stay in the figure, and Escape leaves it", () => {
    const root = mounted();
    slider(root).focus();
    for (const key of ["ArrowLeft", "ArrowRight", "Home", "End", "PageUp"]) {
      expect([key, press(root, key)]).toEqual([key, false]);
    }
    expect(press(root, "Escape")).toBe(true);
    expect(document.activeElement).not.toBe(slider(root));
  });

  test("figures without a rule have no slider", () => {
    const root = mounted((spec) => {
      for (const [plane] of spec.panels) plane.rule = null;
      return spec;
    });
    expect(findAll(root, "input")).toEqual([]);
    expect(findAll(root, ".fv-point").length).toBe(24);
  });
});

test("in a widget a point's layer and head are the selection, whatever the threshold", () => {
  const { spec, arrays, buffer } = figure;
  const bytes = new DataView(decodeBase64(buffer).buffer);
  const model = new FakeModel({
    figure: { spec, arrays },
    buffer: bytes,
    selection: null,
    error: "",
  });
  const el = document.createElement("div");
  document.body.append(el);
  render({ model, el });
  const point = () =>
    findAll(el, ".fv-point").filter((e) => e.getAttribute("aria-label")?.startsWith("L1H2,"))[0];
  point().dispatchEvent(new Event("click", { bubbles: true }));
  expect(model.get("selection")).toEqual({ panel: 0, row: 10, key: { layer: 1, head: 2 } });
  moveTo(el, 3);
  expect(point().getAttribute("aria-pressed")).toBe("true");
  choose(el, 1);
  expect(point().getAttribute("aria-pressed")).toBe("true");
  expect(model.saved).toBe(1);
  model.update({ selection: { panel: 0, row: 0, key: { layer: 0, head: 0 } } });
  expect(point().getAttribute("aria-pressed")).toBe("false");
});
