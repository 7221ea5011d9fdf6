import { describe, expect, test } from "vitest";
import { decodeBase64, reader } from "../src/arrays.js";
import { bandPath, linePath, spread } from "../src/marks/lines.js";
import { geometry, groupOf, inSight } from "../src/marks/matrix-layout.js";
import {
  brief,
  cellColour,
  formatter,
  largest,
  orderRows,
  ticks,
  withSums,
} from "../src/numbers.js";
import { COLOURS, Pack } from "./figures.js";

describe("arrays", () => {
  test("the base64 buffer gives back the numbers, for every dtype", () => {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setFloat32(0, 1.5, true);
    view.setFloat32(4, NaN, true);
    view.setInt32(8, -7, true);
    view.setInt32(12, 2 ** 30, true);
    const read = reader(
      [
        { dtype: "float32", shape: [2], offset: 0 },
        { dtype: "int32", shape: [2, 1], offset: 8 },
      ],
      decodeBase64(Buffer.from(bytes).toString("base64")),
    );
    expect([...read({ array: 0 })]).toEqual([1.5, NaN]);
    expect([...read({ array: 1 })]).toEqual([-7, 2 ** 30]);
    expect([...read(null)]).toEqual([]);
  });

  test("a DataView at an odd offset of a larger message is read too", () => {
    const message = new Uint8Array(9);
    message.set(new Uint8Array(new Float32Array([2.5, -1]).buffer), 1);
    const read = reader(
      [{ dtype: "float32", shape: [2], offset: 0 }],
      new DataView(message.buffer, 1),
    );
    expect([...read({ array: 0 })]).toEqual([2.5, -1]);
  });

  test("a buffer that ends too early is an error, not zeros", () => {
    const read = reader([{ dtype: "float32", shape: [3], offset: 0 }], new Uint8Array(8));
    expect(() => read({ array: 0 })).toThrow("cannot read array 0");
  });
});

describe("sums and order", () => {
  test("rows, columns and everything are summed; NaN is padding", () => {
    const table = withSums([1, 2, NaN, 3, -4, NaN], 2, 3);
    expect([...table]).toEqual([1, 2, NaN, 3, 3, -4, NaN, -1, 4, -2, NaN, 2]);
  });

  test("a row of nothing but NaN has no sum", () => {
    expect([...withSums([NaN, NaN, 0, 1], 2, 2)]).toEqual([NaN, NaN, NaN, 0, 1, 1, 0, 1, 1]);
  });

  test("by contribution: largest |sum| first, ties as they were, NaN last", () => {
    expect(orderRows([1, -6, 3, NaN, -3], false, 9)).toEqual([1, 2, 4, 0, 3]);
  });

  test("by layer keeps the same strongest rows", () => {
    expect(orderRows([1, -6, 3, NaN, -3], false, 2)).toEqual([1, 2]);
    expect(orderRows([9, 0, 1, -6, 3], true, 3)).toEqual([0, 3, 4]);
  });

  test("the largest value ignores what is not finite", () => {
    expect(largest([1, -3, NaN, Infinity])).toBe(3);
    expect(largest([NaN])).toBe(0);
  });
});

describe("written numbers", () => {
  test("two digits at least, true minus, no sign on what rounds to zero", () => {
    const write = formatter(12);
    expect([3.149, -0.5, 0.001, -0.001, 0, NaN].map(write)).toEqual([
      "+3.15",
      "\u22120.50",
      "0.00",
      "0.00",
      "0.00",
      "no value",
    ]);
  });

  test("small scales get more digits, tiny ones a power", () => {
    expect(formatter(0.08)(0.08)).toBe("+0.0800");
    expect([0.5, 0, -0.5].map(formatter(1, false))).toEqual(["0.50", "0.00", "\u22120.50"]);
    expect(formatter(3e-8)(-2.5e-8)).toBe("\u22122.50e\u22128");
    expect(formatter(4321)(-4321)).toBe("\u22124321");
    expect(formatter(0)(0)).toBe("0.00");
  });

  test("ticks are round and within the interval", () => {
    expect(ticks(-1.2, 4.4, 4).map(brief)).toEqual(["0", "2", "4"]);
    expect(ticks(0, 0.3, 3).map(brief)).toEqual(["0", "0.1", "0.2", "0.3"]);
  });
});

test("colour is sign hue times opacity, never more than the most, and nothing at zero", () => {
  expect(cellColour(2, 4, COLOURS)).toBe("rgba(230,120,20,0.350)");
  expect(cellColour(-9, 4, COLOURS)).toBe("rgba(120,90,210,0.700)");
  expect(cellColour(0, 4, COLOURS)).toBe("rgba(230,120,20,0.000)");
  expect(cellColour(NaN, 4, COLOURS)).toBe("rgba(230,120,20,0.000)");
  expect(cellColour(1, 0, COLOURS)).toBe("rgba(230,120,20,0.000)");
  const evil = { ...COLOURS, positive: /** @type {any} */ (["0);background:url(//x", 0, 0]) };
  expect(cellColour(1, 1, evil)).toBe("rgba(NaN,0,0,0.700)");
});

describe("layout", () => {
  test("each column has one group, the first that names it", () => {
    const groups = [
      { name: "subject", positions: [1, 3] },
      { name: "last", positions: [3] },
    ];
    expect(groupOf({ title: "", labels: ["a", "b", "c", "d"], groups })).toEqual([
      "",
      "subject",
      "",
      "subject",
    ]);
  });

  test("columns share the room; without room they keep a width and scroll", () => {
    const few = geometry(900, 13, ["L0H0"], ["a", "b", "c", "d"], true);
    expect(few.numbers).toBe(true);
    expect(few.upright).toBe(false);
    const many = geometry(380, 13, ["L0H0"], Array(200).fill("token"), true);
    expect(many.cell).toBeGreaterThan(20);
    expect(many.upright).toBe(true);
    expect(many.numbers).toBe(false);
  });

  test("of a long list only what is in sight is made", () => {
    const [from, to] = inSight(1000, 400, 20, 5000);
    expect(from).toBeLessThanOrEqual(50);
    expect(to).toBeGreaterThanOrEqual(70);
    expect(to - from).toBeLessThan(60);
    expect(inSight(0, 400, 20, 5)).toEqual([0, 5]);
  });
});

describe("lines", () => {
  test("a path breaks where a value is missing", () => {
    expect(
      linePath([
        [0, 1],
        [1, 2],
        [2, NaN],
        [3, 4],
      ]),
    ).toBe("M0,1L1,2M3,4");
  });

  test("a band goes there along the low end and back along the high", () => {
    expect(
      bandPath([
        [0, 1, 5],
        [1, 2, 6],
      ]),
    ).toBe("M0,1L1,2L1,6L0,5Z");
  });

  test("labels move apart and keep their order", () => {
    expect(spread([10, 50, 11], 8)).toEqual([10, 50, 18]);
  });
});

test("a pack of arrays is read back in order", () => {
  const pack = new Pack();
  const refs = [pack.add([1, 2]), pack.add([3])];
  const read = reader(pack.arrays, decodeBase64(pack.base64));
  expect(refs.map((ref) => [...read(ref)])).toEqual([[1, 2], [3]]);
});
