import { beforeEach, describe, expect, test } from "vitest";
import { mount } from "../src/index.js";
import * as text from "../src/text.js";
import {
  barsPanel,
  figureSpec,
  find,
  findAll,
  HOSTILE,
  linesPanel,
  matrixPanel,
  Pack,
  pointsPanel,
  press,
  savedFigure,
} from "./figures.js";

beforeEach(() => document.body.replaceChildren());

/** @param {(pack: Pack) => import("../src/spec").Panel[]} panels @param {Partial<import("../src/spec").Spec>} [more] */
function mounted(panels, more) {
  const pack = new Pack();
  const root = savedFigure(figureSpec(panels(pack), more), pack);
  mount(root);
  return root;
}

describe("a saved figure", () => {
  test("goes live once, in the place of the static one", () => {
    const root = mounted((pack) => [matrixPanel(pack)]);
    expect(root.dataset.live).toBe("true");
    expect(findAll(root, ".factviz-static")).toEqual([]);
    const words = findAll(root, ".fv-title, .fv-root > .fv-dim").map((e) => e.textContent);
    expect(words).toEqual(["Fact", "mini", "first new token of 2", "Units."]);
  });

  test.each([
    ["another format", { version: 2 }, "cannot read figure format 2"],
    ["an unknown mark", { panels: [[{ mark: "pie" }]] }, 'unknown mark "pie"'],
  ])("%s is said, and the static figure stays", (_, more, message) => {
    const root = mounted(() => [], /** @type {any} */ (more));
    expect(find(root, "[role=alert]").textContent).toBe(message);
    expect(find(root, ".factviz-static").textContent).toBe("static");
    expect(findAll(root, ".fv-root")).toEqual([]);
  });

  test("has no ids, and every class is ours", () => {
    const root = mounted((pack) => [
      matrixPanel(pack),
      barsPanel(pack),
      linesPanel(pack),
      pointsPanel(pack),
    ]);
    expect(findAll(root, "[id]")).toEqual([]);
    const names = findAll(root, ".fv-root [class]").flatMap((e) => [...e.classList]);
    expect(names.filter((name) => !name.startsWith("fv-"))).toEqual([]);
  });

  test("a choice of facts shows that fact's panels", () => {
    const pack = new Pack();
    const panels = [[barsPanel(pack)], [linesPanel(pack)]];
    const root = savedFigure(
      figureSpec([], { choose: { label: "fact", options: ["a", "b"] }, panels }),
      pack,
    );
    mount(root);
    expect(findAll(root, ".fv-bars").length).toBe(1);
    const select = /** @type {HTMLSelectElement} */ (find(root, "select[aria-label=fact]"));
    select.selectedIndex = 1;
    select.dispatchEvent(new Event("change"));
    expect(findAll(root, ".fv-bars")).toEqual([]);
    expect(findAll(root, "path.fv-line").length).toBeGreaterThan(0);
  });
});

describe("bars", () => {
  test("each bar tells its value and interval; a missing value is said", () => {
    const root = mounted((pack) => [barsPanel(pack)]);
    expect(findAll(root, "[role=listitem]").map((e) => e.getAttribute("aria-label"))).toEqual([
      "heads: +2.00 logits, +1.00 to +3.00",
      " Italy: \u22121.00 logits, \u22122.00 to 0.00",
      "bias: no value",
    ]);
    const texts = findAll(root, ".fv-label").map((e) => e.textContent);
    expect(texts.slice(0, 3)).toEqual(["heads", "\xb7Italy", "bias"]);
  });

  test("bars go from zero to the value on one scale", () => {
    const root = mounted((pack) => [barsPanel(pack)]);
    const boxes = findAll(root, ".fv-fill").map(({ style }) => [style.left, style.width]);
    expect(boxes).toEqual([
      ["40%", "40%"],
      ["20%", "20%"],
    ]);
    const whiskers = findAll(root, ".fv-whisker").map(({ style }) => [style.left, style.width]);
    expect(whiskers).toEqual([
      ["60%", "40%"],
      ["0%", "40%"],
    ]);
  });

  test("with keys they can be chosen by click and by keyboard", () => {
    const root = mounted((pack) => [
      barsPanel(pack, [{ part: "a" }, { part: "b" }, { part: "c" }]),
    ]);
    const options = findAll(root, "[role=option]");
    options[0].focus();
    press(root, "ArrowDown");
    expect(document.activeElement).toBe(options[1]);
    press(root, "Enter");
    expect(options.map((e) => e.getAttribute("aria-selected"))).toEqual(["false", "true", "false"]);
    press(root, "Escape");
    expect(options.map((e) => e.getAttribute("aria-selected"))).toEqual([
      "false",
      "false",
      "false",
    ]);
  });
});

describe("lines", () => {
  test("series differ by dash and letter, and have bands where intervals are", () => {
    const root = mounted((pack) => [linesPanel(pack)]);
    const svg = find(root, ".fv-area svg");
    const dashes = findAll(svg, ".fv-line").map((e) => e.getAttribute("stroke-dasharray"));
    expect(new Set(dashes).size).toBe(2);
    expect(findAll(svg, ".fv-end").map((e) => e.textContent)).toEqual(["S", "B"]);
    const [band, none] = findAll(svg, ".fv-band").map((e) => e.getAttribute("d"));
    expect(band).toMatch(/^M.*Z$/);
    expect(none).toBe("");
    // The second series misses a value: two strokes.
    expect(findAll(svg, ".fv-line")[1].getAttribute("d")?.match(/M/g)?.length).toBe(2);
  });

  test("arrow keys walk along x and tell all values there", () => {
    const root = mounted((pack) => [linesPanel(pack)]);
    find(root, ".fv-area").focus();
    press(root, "ArrowRight");
    const tip = () => find(root, ".fv-tip").textContent?.replace(/[\u2068\u2069]/g, "");
    expect(tip()).toBe(
      "layer 1\nS subject: \u221210.00 (\u221212.00 to \u22128.00)\nB last: no value",
    );
    press(root, "End");
    expect(tip()).toContain("layer 3\n");
  });
});

describe("points", () => {
  test("classes have letter and shape, and what is not finite is left out", () => {
    const root = mounted((pack) => [pointsPanel(pack)]);
    const points = findAll(root, ".fv-point");
    expect(points.map((e) => e.textContent)).toEqual(["R", "M", "S"]);
    expect(new Set(points.map((e) => find(e, "path").getAttribute("d"))).size).toBe(3);
    expect(points[2].getAttribute("aria-label")).toBe(
      "L0H0, subject, subject +3.00 logits, relation 0.00 logits",
    );
    expect(findAll(root, ".fv-classes li").map((e) => e.textContent)).toEqual([
      "Ssubject",
      "Rrelation",
      "Mmixed",
      "uunclassified",
    ]);
  });

  test("a point can be chosen and let go", () => {
    const root = mounted((pack) => [pointsPanel(pack)]);
    const points = findAll(root, ".fv-point");
    const pressed = () => points.map((e) => e.getAttribute("aria-pressed"));
    points[0].dispatchEvent(new Event("click", { bubbles: true }));
    expect(pressed()).toEqual(["true", "false", "false"]);
    points[0].dispatchEvent(new Event("click", { bubbles: true }));
    expect(pressed()).toEqual(["false", "false", "false"]);
  });
});

describe("untrusted text", () => {
  test("is shown as text wherever it comes from", () => {
    const pack = new Pack();
    const n = HOSTILE.length;
    const nasty = HOSTILE[1];
    const square = Array.from({ length: n * n }, (_, i) => i);
    const panels = [
      matrixPanel(pack, {
        title: nasty,
        unit: nasty,
        pages: { label: nasty, options: HOSTILE },
        values: pack.add(Array.from({ length: n }, () => square).flat(), [n, n, n]),
        rows: { title: nasty, labels: HOSTILE, keys: null },
        columns: { title: nasty, labels: HOSTILE, groups: [{ name: nasty, positions: [0, 1] }] },
      }),
      {
        ...barsPanel(pack),
        labels: HOSTILE.slice(0, 3),
        classes: HOSTILE.slice(0, 3),
        unit: nasty,
      },
      { ...linesPanel(pack), x: { title: nasty, values: pack.add([0, 1, 2, 3]) }, title: nasty },
      { ...pointsPanel(pack), labels: HOSTILE.slice(0, 4), classes: HOSTILE.slice(0, 4) },
    ];
    const words = { title: HOSTILE[0], subtitle: nasty, caption: nasty, notes: HOSTILE };
    const root = savedFigure(figureSpec(panels, words), pack);
    mount(root);
    find(root, ".fv-body [role=gridcell]").click();
    expect(findAll(root, "[role=alert]")).toEqual([]);
    expect(findAll(root, "section").length).toBe(1);
    expect(findAll(root, "img, [onerror], a, iframe")).toEqual([]);
    expect(findAll(root, "script").length).toBe(1);
    expect(find(root, ".fv-title").textContent).toBe(HOSTILE[0]);
    for (const element of findAll(root, ".fv-root *")) {
      if (element.tagName === "STYLE" || element.childElementCount) continue;
      expect(element.textContent).not.toMatch(
        /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067]/,
      );
    }
  });

  test("what cannot be seen is made visible", () => {
    expect(text.plain("a\u0000\u001b\u007f\n\t")).toBe("a\u2400\u241b\u2421\u23ce\u21e5");
    expect(text.plain("\u202ex\u2066\u200b\u00ad\ufeff")).toBe(
      "\u2039U+202E\u203ax\u2039U+2066\u203a\u2039U+200B\u203a\u2039U+00AD\u203a\u2039U+FEFF\u203a",
    );
    expect(text.plain("\ud800")).toBe("\u2039U+D800\u203a");
    expect(text.plain("\u{e0041}")).toBe("\u2039U+E0041\u203a");
    expect(text.token(" a b ")).toBe("\xb7a\xb7b\xb7");
    expect(text.token("")).toBe("\u2205");
  });

  test("what can be seen is left alone", () => {
    for (const kept of ["👩‍🔬", "שלום", "日本", "नमस्ते", "e\u0301", "a b"])
      expect(text.plain(kept)).toBe(kept);
  });
});
