"""Tables of the model cards, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """A section with one table, in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join([f"\n## {title}", *([note] if note else []), "", *lines])


def share(band: Sequence[float]) -> str:
    """A share with its interval, in percent."""
    return f"{band[0]:.1%} ({band[1]:.1%} to {band[2]:.1%})"


def number(band: Sequence[float], digits: int = 2) -> str:
    """A number with its interval, where it has one."""
    mean, low, high = (f"{value:.{digits}f}" for value in band)
    return mean if low == high else f"{mean} ({low} to {high})"
