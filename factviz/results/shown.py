"""Text and numbers as they are shown: nothing in a prompt may hide, reorder or command.

Prompts, tokens and file names are untrusted. Whatever prints them goes through here first, so that
a right-to-left override, a bell or half a surrogate pair is seen instead of obeyed. (Mark-up is the
business of each writer: this module knows no HTML.)
"""

from __future__ import annotations

import math
import unicodedata

_NAMED = {"\n": "⏎", "\t": "⇥", "\x7f": "\u2421"}
# Joiners stay: emoji and several scripts are spelt with them.
_KEPT_FORMAT = {"\u200c", "\u200d"}
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _is_noncharacter(code: int) -> bool:
    return (code & 0xFFFE) == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _visible(char: str) -> str:
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if code < 0x20:
        return chr(0x2400 + code)
    hidden = unicodedata.category(char) in _HIDDEN_CATEGORIES and char not in _KEPT_FORMAT
    if hidden or _is_noncharacter(code) or (char.isspace() and char != " "):
        return f"‹U+{code:04X}›"
    return char


def shown(text: str, *, spaces: bool = False, limit: int | None = None) -> str:
    """Text with everything invisible made visible.

    Parameters
    ----------
    text
        Any text, also with lone surrogates.
    spaces
        Show spaces as ``·``: for tokens, where a leading space is part of the name.
    limit
        Longest result, in characters; what is longer ends in ``…``.

    Returns
    -------
    str
        Printable, one line, encodable as UTF-8 and allowed in XML.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_visible, text))
        if text and unicodedata.category(text[0]).startswith("M"):
            text = "◌" + text  # a combining mark alone would sit on its neighbour
    if spaces:
        text = text.replace(" ", "·")
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def token_text(text: str, limit: int | None = None) -> str:
    """One token: spaces visible, and something to see where there is no text at all."""
    return shown(text, spaces=True, limit=limit) if text else "∅"


def digits_for(scale: float) -> int:
    """Decimals for values up to `scale`: two, more for small ones (to 6), fewer above 100."""
    if not math.isfinite(scale) or scale <= 0:
        return 2
    power = math.floor(math.log10(scale))
    return max(0, 3 - power) if power >= 2 else min(6, 2 - min(power, 0))


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """A number with a real minus sign; never ``−0.00``, and ``n/a`` for what is not a number."""
    if not math.isfinite(value):
        return "n/a"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")
