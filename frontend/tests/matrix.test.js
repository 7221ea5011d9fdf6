import { beforeEach, describe, expect, test } from "vitest";
import { mount } from "../src/index.js";
import { figureSpec, find, findAll, matrixPanel, Pack, press, savedFigure } from "./figures.js";

beforeEach(() => document.body.replaceChildren());

/** @param {Partial<import("../src/spec").MatrixPanel>} [more] */
function matrixFigure(more) {
  const pack = new Pack();
  const root = savedFigure(figureSpec([matrixPanel(pack, more)]), pack);
  mount(root);
  return root;
}

/** @param {Element} root */
const shownRows = (root) => findAll(root, ".fv-body [role=rowheader]").map((e) => e.textContent);
/** @param {Element} root @param {string} label */
const cellNamed = (root, label) => {
  const cells = findAll(root, "[role=gridcell]");
  const cell = cells.find((e) => e.getAttribute("aria-label") === label);
  if (!cell) throw new Error(`no cell is called ${label}`);
  return cell;
};
/** @param {Element} root @param {string} label @param {number} index */
function chooseOption(root, label, index) {
  const select = /** @type {HTMLSelectElement} */ (find(root, `select[aria-label="${label}"]`));
  select.selectedIndex = index;
  select.dispatchEvent(new Event("change"));
}
const focused = () => document.activeElement?.getAttribute("aria-label");

describe("what is shown", () => {
  test("heads by |contribution|, tokens by position, duplicates apart, spaces seen", () => {
    const root = matrixFigure();
    expect(shownRows(root)).toEqual(["L0H1", "L1H0", "L0H0"]);
    const heads = findAll(root, ".fv-token > bdi").map((e) => e.textContent);
    expect(heads).toEqual(["<s>", "\xb7The", "\xb7The", "\xb7of"]);
  });

  test("a cell says head, token, group, value and unit, and has its colour", () => {
    const root = matrixFigure();
    const cell = cellNamed(root, 'L1H0 reads " The" (subject): +2.00 logits');
    expect(find(cell, ".fv-tile").style.backgroundColor).toBe("rgba(230, 120, 20, 0.280)");
    expect(cellNamed(root, 'L0H0 reads " The": 0.00 logits')).toBeTruthy();
  });

  test("row totals, and column totals over all rows whatever is shown", () => {
    const root = matrixFigure({ top: 1 });
    expect(shownRows(root)).toEqual(["L0H1"]);
    expect(findAll(root, ".fv-body .fv-sum").map((e) => e.textContent)).toEqual(["\u22126.00"]);
    const sums = findAll(root, ".fv-foot [role=gridcell]").map((e) => e.textContent);
    expect(sums).toEqual(["\u22123.00", "+1.00", "0.00", "0.00", "\u22122.00"]);
    expect(root.textContent).toContain("1 of 3 heads; click or Enter: details; Esc: clear");
  });

  test("without totals there are none", () => {
    const root = matrixFigure({ totals: false });
    expect(findAll(root, ".fv-sum, .fv-foot [role=row]")).toEqual([]);
    expect(findAll(root, "[role=gridcell]").length).toBe(12);
  });

  test("one bracket for every run of a group", () => {
    const root = matrixFigure();
    expect(findAll(root, ".fv-bracket").map((e) => e.textContent)).toEqual([
      "bos",
      "subject",
      "subject",
    ]);
  });

  test("order, number of rows and page can be chosen", () => {
    const root = matrixFigure({ top: 2 });
    expect(shownRows(root)).toEqual(["L0H1", "L1H0"]);
    chooseOption(root, "heads", 1);
    chooseOption(root, "order", 1);
    expect(shownRows(root)).toEqual(["L0H0", "L0H1", "L1H0"]);
    chooseOption(root, "attribute", 1);
    chooseOption(root, "order", 0);
    expect(shownRows(root)).toEqual(["L0H0", "L1H0", "L0H1"]);
    expect(find(root, ".fv-legend").textContent).toBe("\u22128.000+8.00logits");
  });

  test("a missing value is said to be missing", () => {
    const pack = new Pack();
    const values = pack.add([NaN, 1], [1, 1, 2]);
    const rows = { title: "head", labels: ["L0H0"] };
    const columns = { title: "token", labels: ["a", "b"] };
    const root = savedFigure(
      figureSpec([matrixPanel(pack, { values, rows, columns, pages: null })]),
      pack,
    );
    mount(root);
    expect(cellNamed(root, 'L0H0 reads "a": no value').textContent).toBe("");
  });

  test("of 512 tokens × 144 heads only what is in sight has elements", () => {
    const pack = new Pack();
    const values = pack.add(Array(512 * 144).fill(0.1), [144, 512]);
    const rows = { title: "head", labels: Array.from({ length: 144 }, (_, i) => `H${i}`) };
    const columns = { title: "token", labels: Array(512).fill(" x") };
    const root = savedFigure(
      figureSpec([matrixPanel(pack, { values, rows, columns, pages: null })]),
      pack,
    );
    mount(root);
    const grid = find(root, "[role=grid]");
    expect(findAll(grid, "[role=gridcell]").length).toBeLessThan(5000);
    expect(grid.getAttribute("aria-rowcount")).toBe("146");
    expect(grid.getAttribute("aria-colcount")).toBe("514");
  });
});

describe("choosing a head", () => {
  test("a click shows its row with groups and shares, a second click takes it away", () => {
    const root = matrixFigure();
    cellNamed(root, 'L0H1 reads "<s>" (bos): \u22125.00 logits').click();
    const detail = find(root, "section[aria-label='L0H1: contribution by source token']");
    const bars = findAll(detail, "[role=listitem]").map((e) => e.getAttribute("aria-label"));
    expect(bars).toEqual([
      '"<s>" (bos): \u22125.00 logits, 83%',
      '" The" (subject): \u22121.00 logits, 17%',
      '" The": 0.00 logits, 0%',
      '" of" (subject): 0.00 logits, 0%',
    ]);
    expect(detail.textContent).toContain("total \u22126.00 logits");
    expect(findAll(root, "[role=row][aria-selected=true]").map((e) => e.dataset.row)).toEqual([
      "1",
    ]);
    cellNamed(root, 'L0H1 reads "<s>" (bos): \u22125.00 logits').click();
    expect(findAll(root, "section, [aria-selected=true]")).toEqual([]);
  });

  test("the row label can be clicked, the sums cannot be chosen", () => {
    const root = matrixFigure();
    find(root, ".fv-body [role=rowheader]").click();
    expect(find(root, "section").getAttribute("aria-label")).toContain("L0H1");
    find(root, "[aria-label='clear selection']").click();
    expect(findAll(root, "section")).toEqual([]);
    find(root, ".fv-foot [role=gridcell]").click();
    expect(findAll(root, "section")).toEqual([]);
  });

  test("it stays chosen on another page, with that page's numbers", () => {
    const root = matrixFigure();
    find(root, "[role=row][data-row='0'] [role=gridcell]").click();
    chooseOption(root, "attribute", 1);
    expect(find(root, "section").textContent).toContain("total +8.00 logits");
  });

  test("where sums mean nothing the row has no total", () => {
    const root = matrixFigure({ totals: false });
    find(root, "[role=row][data-row='0'] [role=gridcell]").click();
    expect(find(root, "section").textContent).toContain("share: of all |values|");
    expect(find(root, "section").textContent).not.toContain("total");
  });

  test("of a long row the weakest tokens are summed up", () => {
    const pack = new Pack();
    const values = pack.add([...Array(40).fill(0.5), 9], [1, 41]);
    const rows = { title: "head", labels: ["L0H0"] };
    const columns = { title: "token", labels: Array(41).fill("x") };
    const root = savedFigure(
      figureSpec([matrixPanel(pack, { values, rows, columns, pages: null })]),
      pack,
    );
    mount(root);
    find(root, ".fv-body [role=gridcell]").click();
    expect(findAll(root, "section [role=listitem]").length).toBe(32);
    expect(find(root, "section").textContent).toContain("9 weaker: +4.50 logits");
  });
});

describe("keyboard", () => {
  test("one tab stop; arrows, Home and End move and stop at the edges", () => {
    const root = matrixFigure();
    expect(findAll(root, "[role=grid] [tabindex='0']").length).toBe(1);
    find(root, "[role=grid] [tabindex='0']").focus();
    expect(focused()).toBe('L0H1 reads "<s>" (bos): \u22125.00 logits');
    press(root, "ArrowRight");
    press(root, "ArrowDown");
    expect(focused()).toBe('L1H0 reads " The" (subject): +2.00 logits');
    press(root, "End");
    expect(focused()).toBe("L1H0, total: +3.00 logits");
    press(root, "ArrowRight");
    expect(focused()).toBe("L1H0, total: +3.00 logits");
    press(root, "Home");
    press(root, "ArrowLeft");
    expect(focused()).toBe('L1H0 reads "<s>" (bos): +1.00 logits');
    press(root, "PageDown");
    expect(focused()).toBe('all 3 at "<s>" (bos): \u22123.00 logits');
    press(root, "PageUp");
    expect(focused()).toBe('L0H1 reads "<s>" (bos): \u22125.00 logits');
    expect(findAll(root, "[role=grid] [tabindex='0']").length).toBe(1);
  });

  test("Enter chooses, Escape clears, and the focus stays", () => {
    const root = matrixFigure();
    find(root, "[role=grid] [tabindex='0']").focus();
    press(root, "Enter");
    expect(find(root, "section").getAttribute("aria-label")).toContain("L0H1");
    expect(press(root, "Escape")).toBe(false);
    expect(findAll(root, "section")).toEqual([]);
    expect(focused()).toContain("L0H1");
  });

  test("unmodified keys stay in the figure", () => {
    const root = matrixFigure();
    find(root, "[role=grid] [tabindex='0']").focus();
    for (const key of ["ArrowDown", "Enter", " ", "j", "d", "Tab", "Home"]) {
      expect([key, press(root, key)]).toEqual([key, false]);
    }
  });

  test("modified keys go to the notebook and change nothing", () => {
    const root = matrixFigure();
    find(root, "[role=grid] [tabindex='0']").focus();
    const before = focused();
    expect(press(root, "s", { ctrlKey: true })).toBe(true);
    expect(press(root, "s", { metaKey: true })).toBe(true);
    expect(press(root, "ArrowDown", { altKey: true })).toBe(true);
    expect(press(root, "ArrowDown", { ctrlKey: true })).toBe(true);
    expect(press(root, "Enter", { shiftKey: true })).toBe(true);
    expect(focused()).toBe(before);
    expect(findAll(root, "section")).toEqual([]);
  });

  test("Escape with nothing chosen leaves the figure", () => {
    const root = matrixFigure();
    find(root, "[role=grid] [tabindex='0']").focus();
    expect(press(root, "Escape")).toBe(true);
    expect(root.contains(document.activeElement)).toBe(false);
  });
});

test("the tooltip shows head, token, position, group and value", () => {
  const root = matrixFigure();
  const cell = cellNamed(root, 'L1H0 reads " The" (subject): +2.00 logits');
  cell.dispatchEvent(new Event("pointerover", { bubbles: true }));
  const tip = find(root, ".fv-tip");
  expect(tip.hidden).toBe(false);
  expect(tip.textContent?.replace(/[\u2068\u2069]/g, "")).toBe(
    "L1H0 \u2190 \xb7The\nposition 1 (subject)\n+2.00 logits",
  );
  find(root, ".fv-title").dispatchEvent(new Event("pointerover", { bubbles: true }));
  expect(tip.hidden).toBe(true);
});
