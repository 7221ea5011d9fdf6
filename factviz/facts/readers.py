"""Files of facts: CSV, and the JSON of LRE, CounterFact and known_1000.

LRE: Hernandez et al., arXiv 2308.09124. CounterFact and known_1000: Meng et al., arXiv
2202.05262. A row that is not a fact is an error that names file and row.
"""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import SLOT, Fact

Row = dict[Any, Any]


def read(path: str | os.PathLike[str]) -> list[Fact]:
    """Facts of a file, or of every CSV and JSON file in a folder."""
    place = Path(path)
    if place.is_dir():
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in {".csv", ".json"})
        if not files:
            raise FactvizError(f"folder {place.name!r} holds no .csv and no .json file")
        return [fact for file in files for fact in read(file)]
    make, rows = _csv(place) if place.suffix.lower() == ".csv" else _json(place)
    facts = [_fact(place, number, make, row) for number, row in enumerate(rows, 1)]
    if not facts:
        raise FactvizError(f"file {place.name!r} holds no facts")
    return facts


def _fact(place: Path, number: int, make: Callable[[Row], Fact], row: Row) -> Fact:
    try:
        with warnings.catch_warnings():
            # Which of two mentions is meant is said by the files' own templates.
            warnings.simplefilter("ignore", FactvizWarning)
            return make(row)
    except FactvizError as error:
        raise FactvizError(f"{place.name}, row {number}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FactvizError(f"{place.name}, row {number} is not a fact ({error!r})") from None


def _text(place: Path) -> str:
    try:
        return place.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FactvizError(f"cannot read {place.name!r} as text: {error}") from None


def _csv(place: Path) -> tuple[Callable[[Row], Fact], list[Row]]:
    reader = csv.DictReader(io.StringIO(_text(place), newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise FactvizError(f"{place.name!r} is not a CSV file: {error}") from None
    columns = set(reader.fieldnames or ())
    if not ({"subject", "answer"} <= columns and columns & {"prompt", "template"}):
        raise FactvizError(
            f"{place.name!r} has the columns {sorted(columns)}: needed are subject, answer, and "
            "prompt or template"
        )
    return _from_csv, rows


def _from_csv(row: Row) -> Fact:
    if None in row or None in row.values():
        raise FactvizError("it has more or fewer cells than the header")
    options = {name: row[name] for name in ("relation", "prefix", "topic") if row.get(name)}
    for name in ("same_subject", "same_relation"):
        if row.get(name):
            options[name] = tuple(word.strip() for word in row[name].split(";"))
    if row.get("prompt"):
        return Fact(row["prompt"], row["subject"], row["answer"], **options)
    return _filled(row["template"], row["subject"], row["answer"], **options)


def _json(place: Path) -> tuple[Callable[[Row], Fact], list[Row]]:
    try:
        found = json.loads(_text(place))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FactvizError(f"{place.name!r} is neither CSV nor JSON: {error}") from None
    if isinstance(found, dict) and {"samples", "prompt_templates"} <= found.keys():
        return _from_lre, list(_lre_rows(found))
    rows = found if isinstance(found, list) else []
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    if "requested_rewrite" in first:
        return _from_counterfact, rows
    if {"prompt", "subject", "attribute"} <= first.keys():
        return _from_known, rows
    raise FactvizError(
        f"{place.name!r} is JSON, but not of LRE, CounterFact or known_1000; a CSV with the "
        "columns prompt, subject and answer is read as well"
    )


def _lre_rows(found: Row) -> Iterator[Row]:
    template = found["prompt_templates"][0]
    for sample in found["samples"]:
        yield {**sample, "template": template, "relation": found.get("name", "")}


def _from_lre(row: Row) -> Fact:
    return _filled(row["template"], row["subject"], row["object"], relation=row["relation"])


def _from_counterfact(row: Row) -> Fact:
    asked = row["requested_rewrite"]
    answer, relation = asked["target_true"]["str"], asked.get("relation_id", "")
    return _filled(asked["prompt"], asked["subject"], answer, relation=relation)


def _from_known(row: Row) -> Fact:
    # "template" stops short of the prompt in many rows; only its beginning is used.
    before = str(row.get("template", "")).partition("{}")[0]
    prompt, subject = row["prompt"], row["subject"]
    start = len(before) if prompt.startswith(before + subject) else None
    return Fact(
        prompt, subject, row["attribute"], relation=row.get("relation_id", ""), subject_start=start
    )


def _filled(template: str, subject: str, answer: str, **options: Any) -> Fact:
    template = template if SLOT in template else template.replace("{}", SLOT)
    return Fact.from_template(template, subject, answer, **options)
