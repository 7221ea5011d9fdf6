"""The built-in tables: real-world facts, and the wordings that ask for them.

One CSV per kind of subject (``country.csv``: a subject and one column per relation), and
``wordings_*.csv`` with the templates of each relation, the canonical one first. The embedded
models are trained on exactly these facts, so the tables are both data set and ground truth.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources

PREFIX = "Fact:"


@dataclass(frozen=True)
class Row:
    """One entry of a table: a subject has ``answer`` under ``relation`` (kind_column)."""

    subject: str
    relation: str
    answer: str


@cache
def rows() -> tuple[Row, ...]:
    """Every fact of the built-in tables, table by table."""
    found: list[Row] = []
    for name, lines in _tables():
        found += [
            Row(line["subject"], f"{name}_{column}", answer)
            for line in lines
            for column, answer in line.items()
            if column != "subject"
        ]
    return tuple(found)


@cache
def wordings() -> dict[str, tuple[str, ...]]:
    """The templates of each relation, the canonical one first."""
    found: dict[str, list[str]] = {}
    for name in _names():
        if name.startswith("wordings_"):
            for line in _read(name):
                found.setdefault(line["relation"], []).append(line["template"])
    return {relation: tuple(templates) for relation, templates in found.items()}


def prefix_of(template: str) -> str:
    """The prefix a built-in wording declares: "Fact:" or none."""
    return PREFIX if template.startswith(PREFIX) else ""


def _tables() -> list[tuple[str, list[dict[str, str]]]]:
    names = [name for name in _names() if not name.startswith("wordings_")]
    return [(name.removesuffix(".csv"), _read(name)) for name in names]


def _names() -> list[str]:
    folder = resources.files("factviz.facts") / "tables"
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".csv"))


def _read(name: str) -> list[dict[str, str]]:
    text = (resources.files("factviz.facts") / "tables" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))
