"""Text in matplotlib: always text, never mathematics, and never a box nobody can read.

Prompts hold ``$``, emoji and scripts that the figure's fonts lack. Formulas are switched off for
every text; a character that no installed font can draw is written as its code point, except in SVG,
whose viewer has fonts of its own.
"""

from __future__ import annotations

import textwrap
from functools import cache
from typing import Any

from matplotlib import font_manager

from factviz.results.shown import shown, token_text

# Outline fonts only: matplotlib cannot draw colour bitmaps. Those installed are used in this order.
_FALLBACKS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Emoji",
    "Symbola",
    "Segoe UI Symbol",
    "Arial Unicode MS",
)
PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}


@cache
def families() -> list[str]:
    """Fonts to draw with, the first for nearly everything."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _FALLBACKS if name in installed]


@cache
def _characters() -> frozenset[int]:
    found: set[int] = set()
    for name in families():
        path = font_manager.findfont(font_manager.FontProperties(family=name))
        found.update(font_manager.get_font(path).get_charmap())
    return frozenset(found)


def _named(char: str) -> str:
    """The code point of a character that cannot be drawn."""
    if char in "\u200c\u200d":
        return ""  # a joiner with nothing left to join
    code = ord(char)
    if 0x2400 <= code <= 0x2421:  # a picture of a control character: name what it stands for
        code = 0x7F if code == 0x2421 else code - 0x2400
    return f"‹U+{code:04X}›"


def drawable(text: str) -> str:
    """Text with ``‹U+1F600›`` for what no installed font can draw."""
    if text.isascii():
        return text
    known = _characters()
    return "".join(char if ord(char) in known else _named(char) for char in text)


class Writer:
    """Makes text ready for one kind of file.

    Parameters
    ----------
    viewer_fonts
        Whether the file's viewer brings fonts (SVG with text as text).
    """

    def __init__(self, *, viewer_fonts: bool = False) -> None:
        self.viewer_fonts = viewer_fonts

    def text(self, text: str, limit: int | None = None) -> str:
        """Any text, on one line."""
        return self._ready(shown(text, limit=limit), limit)

    def token(self, text: str, limit: int | None = None) -> str:
        """A token, with visible spaces."""
        return self._ready(token_text(text, limit), limit)

    def _ready(self, text: str, limit: int | None) -> str:
        return text if self.viewer_fonts else shown(drawable(text), limit=limit)

    def wrapped(self, text: str, width: int, limit: int) -> str:
        """Several lines of at most `width` characters."""
        return "\n".join(textwrap.wrap(self.text(text, limit), width, break_on_hyphens=False))
