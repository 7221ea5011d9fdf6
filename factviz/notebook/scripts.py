"""The JavaScript of live views, beside the painters that all figures share."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def script(name: str) -> str:
    """One of the modules in ``static``."""
    return (resources.files("factviz.notebook") / "static" / name).read_text(encoding="utf-8")
