import { beforeEach, describe, expect, test } from "vitest";
import module, { initialize, render } from "../src/index.js";
import { barsPanel, FakeModel, figureSpec, find, findAll, matrixPanel, Pack } from "./figures.js";

beforeEach(() => document.body.replaceChildren());

function widget(traits = {}) {
  const pack = new Pack();
  const spec = figureSpec([matrixPanel(pack)]);
  const model = new FakeModel({
    figure: { spec, arrays: pack.arrays },
    buffer: new DataView(pack.bytes.buffer),
    selection: null,
    error: "",
    ...traits,
  });
  const el = document.createElement("div");
  document.body.append(el);
  const controller = new AbortController();
  const cleanUp = render({ model, el, signal: controller.signal });
  return { model, el, controller, cleanUp };
}

test("the module is what anywidget asks for", () => {
  expect(module).toEqual({ initialize, render });
});

describe("selection", () => {
  test("a click becomes a trait, once", () => {
    const { model, el } = widget();
    find(el, "[role=row][data-row='2'] [role=gridcell]").click();
    expect(model.get("selection")).toEqual({ panel: 0, row: 2, key: { layer: 1, head: 0 } });
    expect(model.saved).toBe(1);
    find(el, "[role=row][data-row='2'] [role=gridcell]").click();
    expect(model.get("selection")).toBe(null);
  });

  test("a trait becomes a selection, without an echo", () => {
    const { model, el } = widget();
    model.update({ selection: { panel: 0, row: 1, key: { layer: 0, head: 1 } } });
    expect(find(el, "section").getAttribute("aria-label")).toContain("L0H1");
    expect(model.saved).toBe(0);
    model.update({ selection: null });
    expect(findAll(el, "section")).toEqual([]);
  });

  test("one that is there at first is shown", () => {
    const { el } = widget({ selection: { panel: 0, row: 0, key: null } });
    expect(find(el, "section").getAttribute("aria-label")).toContain("L0H0");
  });
});

describe("changes", () => {
  test("figure and buffer together are painted once, with the selection kept", async () => {
    const { model, el } = widget();
    model.update({ selection: { panel: 0, row: 0, key: null } });
    const pack = new Pack();
    const spec = figureSpec([matrixPanel(pack, { title: "Second" }), barsPanel(pack)]);
    const before = find(el, ".fv-root");
    model.update({
      figure: { spec, arrays: pack.arrays },
      buffer: new DataView(pack.bytes.buffer),
    });
    expect(find(el, ".fv-root")).toBe(before);
    await Promise.resolve();
    expect(findAll(el, ".fv-root").length).toBe(1);
    expect(el.textContent).toContain("Second");
    expect(find(el, "section").getAttribute("aria-label")).toContain("L0H0");
  });

  test("an error is an alert, and goes when it is gone", () => {
    const { model, el } = widget({ error: "subject 'x' not found" });
    expect(find(el, "[role=alert]").textContent).toBe("subject 'x' not found");
    model.update({ error: "" });
    expect(find(el, "[role=alert]").textContent).toBe("");
  });

  test("a figure that cannot be painted is an alert, not an exception", async () => {
    const { model, el } = widget();
    model.update({ buffer: new DataView(new ArrayBuffer(4)) });
    await Promise.resolve();
    expect(find(el, "[role=alert]").textContent).toBe("cannot read array 0 (float32)");
    expect(findAll(el, ".fv-root")).toEqual([]);
  });

  test("no figure yet is no error", () => {
    const { el } = widget({ figure: {} });
    expect(find(el, "[role=alert]").textContent).toBe("");
  });
});

describe("cleaning up", () => {
  test.each(["signal", "returned function"])("by %s: no listener and no element stay", (how) => {
    const { model, el, controller, cleanUp } = widget();
    expect(model.listening).toBe(4);
    if (how === "signal") controller.abort();
    else cleanUp();
    expect(model.listening).toBe(0);
    expect(el.childElementCount).toBe(0);
  });
});
