/** Untrusted text: shown as it is, with what cannot be seen made visible. */

/**
 * Characters that draw nothing, or that change how their neighbours are drawn: controls, soft hyphen,
 * no-break and zero-width spaces, bidirectional controls, separators, lone surrogates. The zero-width
 * joiners stay: emoji and several scripts need them.
 */
const UNSEEN =
  /[\0-\x1f\x7f-\xa0\xad\u061c\u200b\u200e\u200f\u2028-\u202f\u2060-\u2069\ufeff\ufff9-\ufffb]|\p{Surrogate}/gu;

/**
 * @param {string} char
 * @returns {string}
 */
function picture(char) {
  const code = char.charCodeAt(0);
  if (char === "\n") return "\u23ce";
  if (char === "\t") return "\u21e5";
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\u2039U+${code.toString(16).toUpperCase().padStart(4, "0")}\u203a`;
}

/**
 * Text with its spaces left alone: titles, captions, labels read aloud.
 * @param {unknown} text
 * @returns {string}
 */
export function plain(text) {
  return String(text ?? "").replace(UNSEEN, picture);
}

/**
 * A token, whose spaces matter: " Colosseum" becomes "·Colosseum".
 * @param {unknown} text
 * @returns {string}
 */
export function token(text) {
  return plain(text).replaceAll(" ", "\u00b7") || "\u2205";
}

/**
 * The rough width of a text in units of the font size; wide for CJK and emoji. Only for layout: what
 * does not fit is cut by the style sheet and whole in the tooltip.
 * @param {string} text
 * @returns {number}
 */
export function roughWidth(text) {
  let width = 0;
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (code > 0x1100) width += 1;
    else if (/[iIjl.,:;'|!·]/.test(char)) width += 0.3;
    else if (/[mwMWA-Z<>]/.test(char)) width += 0.75;
    else width += 0.56;
  }
  return width;
}
