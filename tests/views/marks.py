"""One figure with each of the four marks, optionally with other texts in every place there is."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from factviz.views.spec import Figure, FigureBuilder


def four_marks(*texts: str) -> Figure:
    others = cycle(texts)

    def say(default: str) -> str:
        return next(others, default)

    rng = np.random.default_rng(0)
    build = FigureBuilder(say("Four marks"), say("made up"), say("Caption."))
    build.note(say("A note."))
    labels = [f"L{i // 8}H{i % 8}" for i in range(40)]
    matrix = build.matrix(
        rng.normal(size=(2, 40, 6)),
        title=say("Heads × tokens"),
        rows={
            "title": "head",
            "labels": labels,
            "keys": [{"layer": i // 8, "head": i % 8} for i in range(40)],
        },
        columns={
            "title": "source token",
            "labels": [say(t) for t in ("<s>", " The", " Col", "osse", "um", " of")],
            "groups": [
                {"name": "bos", "positions": [0]},
                {"name": say("a long name"), "positions": [1, 4]},
                {"name": "subject", "positions": [2, 3]},
                {"name": "end", "positions": [5]},
            ],
        },
        pages={"label": "attribute", "options": [say("Italy"), "Rome"]},
    )
    effect = rng.normal(size=9)
    bars = build.bars(
        [say(f"L{i}H{i}") for i in range(9)],
        effect,
        title=say("Effects"),
        low=effect - 0.3,
        high=effect + 0.4,
        classes=["subject", "relation", say("mixed"), None, *[None] * 5],
    )
    x = np.arange(12)
    curve = np.sin(x / 3)
    band = {"low": curve - 0.2, "high": curve + 0.2}
    lines = build.lines(
        x,
        [
            {"label": say("subject"), "values": curve, **band, "class": "S"},
            {"label": say("relation"), "values": -curve, "class": "R"},
            {"label": "_other", "values": x / 12},
        ],
        title=say("Knockout"),
        x_title=say("layer"),
        unit=say("percent"),
    )
    kinds = ["subject", "relation", "mixed", say("other"), None]
    points = build.points(
        {"title": say("from subject"), "unit": "logits", "values": rng.normal(size=30)},
        {"title": "from relation", "unit": say("logits"), "values": rng.normal(size=30)},
        [say(f"L{i}H0") for i in range(30)],
        title=say("Heads"),
        classes=[kinds[i % 5] for i in range(30)],
    )
    return build.figure([[matrix, bars, lines, points]])
