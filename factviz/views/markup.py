"""Text into HTML: the only way in for anything that someone else wrote."""

from __future__ import annotations

import html

from factviz.results.shown import shown, token_text


def attribute(text: str) -> str:
    """Text for a quoted attribute."""
    return html.escape(shown(text), quote=True)


def plain(text: str, limit: int | None = None) -> str:
    """Text for an element, kept apart from the direction of its neighbours."""
    return f"<bdi>{html.escape(shown(text, limit=limit), quote=False)}</bdi>"


def token(text: str, limit: int | None = None) -> str:
    """A token for an element, with visible spaces."""
    return f"<bdi>{html.escape(token_text(text, limit), quote=False)}</bdi>"
