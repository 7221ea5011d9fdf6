/** Untrusted text: shown as it is, with what cannot be seen made visible. */
import { max, sum } from "./numbers.js";

/**
 * Characters that draw nothing, or that change how their neighbours are drawn: controls, formats
 * (bidirectional, zero-width, soft hyphen, tags), separators, no-break space, lone surrogates. The
 * zero-width joiners stay: emoji and several scripts need them.
 */
const UNSEEN = /(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}\xa0]/gu;

/** @param {string} char */
function picture(char) {
  const code = char.codePointAt(0) ?? 0;
  const known = { "\n": "\u23ce", "\t": "\u21e5", "\x7f": "\u2421" }[char];
  if (known) return known;
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return `\u2039U+${code.toString(16).toUpperCase().padStart(4, "0")}\u203a`;
}

/**
 * Text with its spaces left alone: titles, captions, labels read aloud.
 * @param {unknown} text
 * @returns {string}
 */
export const plain = (text) => String(text ?? "").replace(UNSEEN, picture);

/**
 * A token, whose spaces matter: " Colosseum" becomes "·Colosseum".
 * @param {unknown} text
 * @returns {string}
 */
export const token = (text) => plain(text).replaceAll(" ", "\xb7") || "\u2205";

/** A written number with its unit; "no value" has none. @param {string} amount @param {string} [unit] */
export const withUnit = (amount, unit) =>
  unit && /\d/.test(amount) ? `${amount} ${plain(unit)}` : amount;

/**
 * What `<bdi>` is, for places that hold text only.
 * @param {string} text
 */
export const isolate = (text) => `\u2068${text}\u2069`;

/**
 * The rough width of the longest text in units of the font size. Only for layout: what does not fit
 * is cut by the style sheet and whole in the tooltip.
 * @param {string[]} texts
 * @returns {number}
 */
export function roughWidth(texts) {
  /** @param {string} char */
  const width = (char) => {
    if (char > "\u10ff") return 1;
    return /[A-Zmw<>%]/.test(char) ? 0.75 : /[ijl.,:;'|!\xb7]/.test(char) ? 0.3 : 0.57;
  };
  return max(0, ...texts.map((text) => sum([...text].map(width))));
}
