"""The built-in tables: real-world facts, and the wordings that ask for them.

One CSV per kind of subject (``country.csv``: a subject and one column per relation), and
``wordings_*.csv`` with the templates of each relation, the canonical one first. The embedded
models are trained on these facts, so the tables are both data set and ground truth. The tables
below ``experiments/`` serve the built-in experiments (`factviz.facts.experiments`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from factviz.facts.draws import fraction

PREFIX = "Fact:"
LISTED_SHARE = 0.04
"""Share of the subjects that training names only in lists of their attributes."""
_NEVER_LISTED = ("country", "fiction", "symbol", "town")


@dataclass(frozen=True)
class Row:
    """One entry of a table: a subject has ``answer`` under ``relation`` (kind_column)."""

    subject: str
    relation: str
    answer: str

    @property
    def kind(self) -> str:
        """What the subject is: the name of its table."""
        return self.relation.partition("_")[0]

    @property
    def listed(self) -> bool:
        """Whether training never states this fact in a wording, only in lists.

        Countries are not among them, for what is asked about landmarks and companies leads to
        them; nor are the subjects of the experiments.
        """
        return self.kind not in _NEVER_LISTED and fraction("listed", self.subject) < LISTED_SHARE


@cache
def rows() -> tuple[Row, ...]:
    """Every fact of the built-in tables, table by table."""
    return read_rows(folder())


@cache
def wordings() -> dict[str, tuple[str, ...]]:
    """The templates of each relation, the canonical one first."""
    return read_wordings(folder())


def prefix_of(template: str) -> str:
    """The prefix a built-in wording declares: "Fact:" or none."""
    return PREFIX if template.startswith(PREFIX) else ""


def folder() -> Traversable:
    """Where the tables lie."""
    return resources.files("factviz.facts") / "tables"


def read_rows(where: Traversable) -> tuple[Row, ...]:
    """The facts of the tables directly in a folder."""
    return tuple(
        Row(line["subject"], f"{path.name.removesuffix('.csv')}_{column}", answer)
        for path in _tables(where)
        if not path.name.startswith("wordings_")
        for line in _lines(path)
        for column, answer in line.items()
        if column != "subject"
    )


def read_wordings(where: Traversable) -> dict[str, tuple[str, ...]]:
    """The wordings of the files directly in a folder, by relation."""
    found: dict[str, list[str]] = {}
    for path in _tables(where):
        if path.name.startswith("wordings_"):
            for line in _lines(path):
                found.setdefault(line["relation"], []).append(line["template"])
    return {relation: tuple(templates) for relation, templates in found.items()}


def _tables(where: Traversable) -> Iterable[Traversable]:
    return sorted(
        (entry for entry in where.iterdir() if entry.name.endswith(".csv")),
        key=lambda entry: entry.name,
    )


def _lines(path: Traversable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
