"""The JavaScript that paints figures, as committed, ready to stand in a page."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from factviz.facts.errors import FactvizError

PLACEHOLDER = "__FACTVIZ_BUNDLE__"


@cache
def _committed() -> str:
    file = resources.files("factviz.views") / "static" / "factviz.js"
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FactvizError(
            "this installation of factviz lacks views/static/factviz.js, so it cannot draw:"
            " install it again, or run `make frontend` in a checkout"
        ) from None


def bundle_hash() -> str:
    """Names this version of the painters: the module mounts only on figures that carry it."""
    return hashlib.sha256(_committed().encode()).hexdigest()[:16]


def source() -> str:
    """The ES module, for a widget or an inline script, with its own hash filled in."""
    # An HTML parser would turn CR into LF and so break the hash in the page's CSP.
    text = _committed().replace(PLACEHOLDER, bundle_hash()).replace("\r\n", "\n")
    if "</script" in text.lower() or "<!--" in text or "\r" in text:
        raise FactvizError("views/static/factviz.js holds text that would end its script element")
    return text
