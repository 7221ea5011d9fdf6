"""Head classes as a figure: heads on the plane of subject and relation DLA, and what speaks for it.

The plane carries what the class rule needs beside each point (``rule``) and the shares name what
they count (``counts``), so that a live view can move the threshold without computing anything
again. What doesn't follow names the threshold it was made under.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from factviz.results import class_rule
from factviz.results.head_classes import ALL, HeadClasses
from factviz.results.shown import number
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

MAX_RELATIONS = 12
TOP = 12
MARKS = (3.0, 10.0)


def _plane(build: FigureBuilder, result: HeadClasses, frame: Any) -> Panel:
    panel = build.points(
        {
            "title": "DLA on the answer from subject tokens",
            "unit": "logits",
            "values": frame["subject_dla"].to_numpy(np.float32),
        },
        {
            "title": "from relation tokens",
            "unit": "logits",
            "values": frame["relation_dla"].to_numpy(np.float32),
        },
        [f"L{layer}H{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)],
        title="Heads and their classes",
        keys=[
            {"layer": int(layer), "head": int(head)}
            for layer, head in zip(frame["layer"], frame["head"], strict=True)
        ],
        classes=_letters(frame["class"]),
    )
    above = (frame["subject_dla_low"] > 0) & (frame["relation_dla_low"] > 0)
    panel["rule"] = {
        "threshold": result.threshold,
        "marks": list(MARKS),
        "mixed": class_rule.MIXED,
        "eligible": build.arrays.add(frame["eligible"].to_numpy(np.int32)),
        "above": build.arrays.add(above.to_numpy(np.int32)),
        "size": build.arrays.add(frame["size"].to_numpy(np.float32)),
    }
    return panel


def _shares(build: FigureBuilder, shares: Any) -> Panel:
    panel = build.bars(
        [f"{row['class']}: {row['heads']}" for row in shares.to_dict("records")],
        100 * shares["share_of_dla"].to_numpy(np.float32),
        title="Heads of each class, and their share of all heads' |DLA| on the answer",
        unit="%",
    )
    panel["counts"] = _letters(shares["class"])
    return panel


def _letters(names: Any) -> list[str | None]:
    return [None if name == "unclassified" else str(name) for name in names]


def _evidence(build: FigureBuilder, frame: Any, threshold: str) -> Panel | None:
    """Whether subject heads lift S over O, relation heads R over O, mixed heads both."""
    rows: list[tuple[str, float, float, float, str]] = []
    for row in _largest(frame, ("subject", "relation", "mixed")).to_dict("records"):
        name = f"L{row['layer']}H{row['head']}"
        for kind, what in (("subject", "S"), ("relation", "R")):
            if row["class"] in (kind, "mixed"):
                value, low, high = (row[f"{kind}_lift{edge}"] for edge in ("", "_low", "_high"))
                rows.append((f"{name} {what} over O", value, low, high, str(row["class"])))
    title = (
        "Lift of the other attributes over a control set, from the class's own tokens "
        f"(classes at threshold {threshold})"
    )
    return _interval_bars(build, rows, title)


def _propagation(build: FigureBuilder, frame: Any, threshold: str) -> Panel | None:
    """For mixed heads: a − R from relation tokens, and its change when they see no subject."""
    rows: list[tuple[str, float, float, float, str]] = []
    for row in _largest(frame, ("mixed",)).to_dict("records"):
        name = f"L{row['layer']}H{row['head']}"
        for measure, label in (
            ("preference", f"{name} a − mean R, clean"),
            ("preference_change", "↳ change, RELATION→SUBJECT blocked"),
            ("preference_control", "↳ change, random keys blocked"),
        ):
            value, low, high = (row[f"{measure}{edge}"] for edge in ("", "_low", "_high"))
            rows.append((label, value, low, high, "mixed"))
    title = f"Mixed heads at threshold {threshold}: a − mean R from relation tokens"
    return _interval_bars(build, rows, title)


def _largest(frame: Any, names: tuple[str, ...]) -> Any:
    some = frame[frame["class"].isin(names)]
    return some.sort_values("size", ascending=False, kind="stable").head(TOP)


def _interval_bars(
    build: FigureBuilder, rows: list[tuple[str, float, float, float, str]], title: str
) -> Panel | None:
    known = [row for row in rows if not np.isnan(row[1])]
    if not known:
        return None
    labels, values, low, high, classes = zip(*known, strict=True)
    edges: Any = {} if np.isnan(low).all() else {"low": np.array(low), "high": np.array(high)}
    return build.bars(labels, np.array(values), title=title, classes=_letters(classes), **edges)


def _written(threshold: float) -> str:
    return number(threshold, 0 if threshold == round(threshold) else 2)


def _panels(build: FigureBuilder, result: HeadClasses, relation: str) -> list[Panel]:
    tables: list[Any] = [result.to_frame(), result.shares()]
    frame, shares = (one[one["relation"] == relation] for one in tables)
    made = [
        _plane(build, result, frame),
        _shares(build, shares),
        _evidence(build, frame, _written(result.threshold)),
        _propagation(build, frame, _written(result.threshold)),
    ]
    return [panel for panel in made if panel is not None]


def build(result: HeadClasses) -> Figure:
    """The figure of head classes; relations become a choice, "all" first."""
    provenance, data = result.provenance, result.dataset
    chosen = result.view_options.get("relation")
    names = result.relations if chosen is None else [chosen]
    if len(names) == 2:  # one relation is all there is
        names = names[:1]
    shown = names[:MAX_RELATIONS]
    count = {name: len(result.heads(name, shown[0])) for name in class_rule.CLASSES[:3]}
    where = "" if shown[0] == ALL else f" of {shown[0]}"
    builder = FigureBuilder(
        f"Head classes{where}: {data.sizes['fact']} facts",
        f"{provenance.get('model')} · at threshold {_written(result.threshold)}: "
        + ", ".join(f"{total} {name}" for name, total in count.items())
        + f" of {data.sizes['layer'] * data.sizes['head']} heads",
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    panels = [_panels(builder, result, name) for name in shown]
    builder.note(str(provenance.get("rule", "")))
    builder.note(*map(str, provenance.get("notes", [])))
    if len(shown) < len(names):
        builder.note(
            f"{len(shown)} of {len(names)} relations are drawn; .view(relation=…) draws any."
        )
    if len(shown) == 1:
        return builder.figure(panels)
    options = ["all relations" if name == ALL else name for name in shown]
    return builder.figure(panels, {"label": "relation", "options": options})


def build_plane(result: HeadClasses) -> Figure:
    """The plane alone, for a view that shows something else under it."""
    whole = build(result)
    return replace(whole, spec=whole.spec | {"panels": [row[:1] for row in whole.spec["panels"]]})
