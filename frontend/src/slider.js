/** A slider for a threshold above 1, on a log scale. */
import { h, on } from "./dom.js";
import { brief, max, min, round } from "./numbers.js";

/** In steps of the slider: a hundred to the decade, so that one is 2 %. @param {number} value */
const place = (value) => round(100 * Math.log10(value));

/**
 * @param {import("./spec").ClassRule} rule where it begins, and what is marked under it
 * @param {(threshold: number) => void} onMove
 */
export function slider({ threshold, marks }, onMove) {
  const at = place(threshold);
  const [low, high] = [min(1, at), max(150, at)];
  const label = "threshold";
  const input = /** @type {HTMLInputElement} */ (
    h("input", { type: "range", min: low, max: high, label })
  );
  const shown = h("b");
  /** @param {number} value */
  const show = (value) => {
    shown.textContent = input.ariaValueText = brief(value);
  };
  on(input, "input", () => {
    const now = +input.value;
    // What has a name is met exactly; in between, three digits say enough.
    const exact = [threshold, ...marks].find((one) => place(one) === now);
    const value = exact ?? +(10 ** (now / 100)).toPrecision(3);
    show(value);
    onMove(value);
  });
  input.value = String(at);
  show(threshold);
  const ticks = marks.map((mark) =>
    h("span.dim", { style: `left:${(100 * (place(mark) - low)) / (high - low)}%` }, brief(mark)),
  );
  const scale = h("span.track", { "aria-hidden": true }, ...ticks);
  return h("label.field", {}, h("span.dim", {}, label), h("span.slide", {}, input, scale), shown);
}
