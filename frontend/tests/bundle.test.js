import { readFileSync } from "node:fs";
import { beforeEach, expect, test } from "vitest";
import { figureSpec, findAll, matrixPanel, Pack, savedFigure } from "./figures.js";

const path = new URL("../../factviz/views/static/factviz.js", `file://${__dirname}/`);
const bundle = readFileSync(path, "utf8");

beforeEach(() => document.body.replaceChildren());

test("is under 25 KB", () => {
  expect(Buffer.byteLength(bundle)).toBeLessThan(25_000);
});

test("can stand in a page's script as it is", () => {
  expect(bundle).not.toMatch(/<\/script|<script|<!--/i);
  expect(bundle).toMatch(/^[\x09\x0a\x20-\x7e]*$/);
});

test("makes no markup from text, evaluates nothing and loads nothing", () => {
  expect(bundle).not.toMatch(
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(/,
  );
  expect(bundle).not.toMatch(/\bfetch\(|XMLHttpRequest|\bimport\(|WebSocket|@import|url\(/);
  expect(bundle.replace("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:|\/\/[a-z]/);
});

test("does not ask which theme it is in", () => {
  expect(bundle).not.toContain("prefers-color-scheme");
});

test("ends by mounting itself on the figures of its own build, and on no other", async () => {
  const pack = new Pack();
  const [mine, other] = [0, 1].map(() => savedFigure(figureSpec([matrixPanel(pack)]), pack));
  other.dataset.bundle = "ffffffffffffffff";
  expect(bundle.split("__FACTVIZ_BUNDLE__").length).toBe(2);
  const code = bundle.replace("__FACTVIZ_BUNDLE__", "0123456789abcdef");
  const load = (/** @type {number} */ n) =>
    import(
      /* @vite-ignore */ `data:text/javascript;base64,${Buffer.from(`${code}//${n}`).toString("base64")}`
    );
  const module = await load(1);
  expect(Object.keys(module.default)).toEqual(["initialize", "render"]);
  expect(mine.dataset.live).toBe("true");
  expect(findAll(mine, "[role=gridcell]").length).toBeGreaterThan(0);
  expect(other.dataset.live).toBe(undefined);
  // Run again, as in a notebook that is opened again: nothing is painted twice.
  await load(2);
  expect(findAll(mine, ".fv-root").length).toBe(1);
});
