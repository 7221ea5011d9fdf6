"""Cases for the class rule and its figure, which the front end's tests read as JSON.

``python -m tests.views.class_rule_cases`` writes them again; a test says when that's needed.
"""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from factviz.results import class_rule
from factviz.results.head_classes import HeadClasses
from factviz.views import head_classes

CASES = Path(__file__).parents[2] / "frontend/tests/class-rule.json"
THRESHOLDS = (1.02, 1.5, 3.0, 4.7, 10.0, 30.0)
GRID = (0.0, 0.01, class_rule.MIXED, 0.1, 0.15, 0.3, 0.47, 0.5, 1.0, 1.5, 3.0)
RELATIONS = ("capital", "sport")
HEADS = 24
HEADS_A_RULE = 70


def _named(names: Any) -> list[str | None]:
    return [None if name == "unclassified" else str(name) for name in np.ravel(names)]


def _pair(draw: random.Random, threshold: float) -> tuple[float, float]:
    """Two sizes: at random, equal, with a ratio of just τ, one at the least of a mixed head.

    Nothing but products: what one math library rounds down, another may round up.
    """
    one, two = draw.choice(GRID), draw.choice(GRID)
    free = (draw.random(), draw.random() * draw.choice((1, 0.3, 0.1)))
    edges = ((one, one), (one, one * threshold), (two * threshold, two))
    return draw.choice((free, free[::-1], *edges, (class_rule.MIXED, one), (two, class_rule.MIXED)))


def rule_case(draw: random.Random, threshold: float) -> dict[str, Any]:
    """Heads with the class that Python gives each."""
    pairs = [_pair(draw, threshold) for _ in range(HEADS_A_RULE)]
    signed = [[size * draw.choice((1, 1, 1, -1)) for size in pair] for pair in pairs]
    subject, relation = np.array(signed).T[:, None]
    able, above = (np.array([[draw.random() < 0.8 for _ in pairs]]) for _ in range(2))
    found = class_rule.classes(subject, relation, able=able, above=above, threshold=threshold)
    return {
        "threshold": threshold,
        "mixed": class_rule.MIXED,
        "subject": subject[0].tolist(),
        "relation": relation[0].tolist(),
        "eligible": able[0].astype(int).tolist(),
        "above": above[0].astype(int).tolist(),
        "classes": _named(found),
    }


def result(draw: random.Random) -> HeadClasses:
    """Classes of made-up heads in two relations; all numbers are exact in binary."""
    facts, dims = 4 * len(RELATIONS), ("fact", "layer", "head")
    shape = (3, len(RELATIONS), HEADS)
    drawn = [
        draw.randrange(-16, 64) / 64 * draw.choice((1, 1, 1 / 8, 1 / 16))
        for _ in range(int(np.prod(shape)))
    ]
    parts = np.array(drawn).reshape(shape)
    # Every second fact of a relation moves some heads by much, so that their intervals reach 0.
    wide = np.arange(HEADS) % 5 == 0
    steps = np.where(np.arange(facts) % 2, 4.0, -4.0)[:, None] * wide
    values = np.repeat(parts, 4, axis=1) + steps
    data: dict[str, Any] = {
        name: (dims, values[k].reshape(facts, 3, -1))
        for k, name in enumerate(("subject_dla", "relation_dla", "other_dla"))
    }
    data |= {
        name: (dims, np.zeros((facts, 3, HEADS // 3)))
        for name in HeadClasses.variables
        if name not in data
    }
    names = np.array([f"s{i}" for i in range(facts)], dtype=object)
    coords: dict[str, Any] = dict.fromkeys(("prompt", "subject", "answer"), ("fact", names))
    coords["relation_name"] = ("fact", np.repeat(np.array(RELATIONS, dtype=object), 4))
    attrs = {"threshold": 10.0, "n_boot": 50, "seed": 0}
    return HeadClasses(xr.Dataset(data, coords=coords, attrs=attrs), {"model": "made"})


def _expected(classes: HeadClasses) -> list[dict[str, Any]]:
    """What each option of the figure shows: the points' classes, the bars' labels and values."""
    shares: Any = classes.shares()
    shown = []
    for name in classes.relations:
        rows = shares[shares["relation"] == name].to_dict("records")
        shown.append(
            {
                "classes": _named(classes.classes.sel(relation=name).values),
                "labels": [f"{row['class']}: {row['heads']}" for row in rows],
                "values": [round(100 * row["share_of_dla"], 4) for row in rows],
            }
        )
    return shown


def cases() -> dict[str, Any]:
    """The rule on random heads, and a whole figure at several thresholds."""
    draw = random.Random(20240207)
    rules = [rule_case(draw, threshold) for threshold in THRESHOLDS]
    made = result(draw)
    figure = head_classes.build(made)
    spec = figure.spec
    kept = {key: spec[key] for key in ("version", "choose", "colours")}
    # Points and their shares: what else is in the figure doesn't follow the slider.
    panels = [panels[:2] for panels in spec["panels"]]
    return {
        "rules": rules,
        "figure": {"spec": kept | {"title": spec["title"], "panels": panels}}
        | {
            "arrays": figure.arrays,
            "buffer": base64.b64encode(figure.buffer).decode("ascii"),
        },
        "shown": [
            {"threshold": value, "options": _expected(made.at(value))} for value in THRESHOLDS
        ],
    }


def written() -> str:
    """The file's text."""
    return json.dumps(cases(), separators=(",", ":")) + "\n"


if __name__ == "__main__":
    CASES.write_text(written(), encoding="utf-8")
