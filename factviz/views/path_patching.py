"""A map of paths as a figure: heads by layer, MLPs beside them, and the strongest senders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from factviz.results.path_patching import PathPatching, sender_name
from factviz.results.shown import number
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 12
_UNITS = {"change": "% of π", "delta": "logits"}


def _measure(result: PathPatching) -> str:
    """What is drawn: percent, unless π has no percentage."""
    chosen = result.view_options.get("measure", "change")
    return chosen if result.base > 0 else "delta"


def _scale(result: PathPatching, measure: str) -> float:
    return 100 / result.base if measure == "change" else 1.0


def unit(result: PathPatching) -> str:
    """The unit that a result is drawn in."""
    return _UNITS[_measure(result)]


def _page(result: PathPatching, name: str) -> Float[np.ndarray, "layer sender"]:
    """An effect or its control, heads and then the MLP of each layer."""
    bands = result.bands()
    scale = _scale(result, _measure(result)) if name == "control" else 1.0
    return scale * np.concatenate(
        [bands[f"heads_{name}"].values, bands[f"mlps_{name}"].values[:, None]], 1
    )


def effect_map(build: FigureBuilder, result: PathPatching, title: str) -> Panel:
    """All senders as a matrix [layer, head and MLP]; its second page is the control."""
    pages = {"effect": _page(result, _measure(result))}
    if "control_heads" in result.dataset:
        pages["control"] = _page(result, "control")
    return _matrix(build, pages, title, "run", unit(result))


def effect_pages(
    build: FigureBuilder, results: Sequence[tuple[str, PathPatching]], title: str
) -> Panel:
    """The effects of several results, a page for each; its rows stand for no sender."""
    pages = {name: _page(result, _measure(result)) for name, result in results}
    panel = _matrix(build, pages, title, "what they feed", unit(results[0][1]))
    panel["rows"] |= {"keys": None}
    return panel


def _matrix(
    build: FigureBuilder,
    pages: Mapping[str, Float[np.ndarray, "layer sender"]],
    title: str,
    label: str,
    measured: str,
) -> Panel:
    values = np.stack(list(pages.values()))
    rows = common.picked_layers(values.shape[1])
    if len(rows) < values.shape[1]:
        build.note(f"{len(rows)} of {values.shape[1]} layers are drawn; .heads holds all.")
    return build.matrix(
        values[:, rows],
        title=title,
        unit=measured,
        pages={"label": label, "options": list(pages)} if len(pages) > 1 else None,
        rows={
            "title": "layer",
            "labels": [f"L{row}" for row in rows],
            "keys": [{"layer": row} for row in rows],
        },
        columns={
            "title": "sender",
            "labels": [*(f"H{head}" for head in range(values.shape[2] - 1)), "MLP"],
            "groups": [],
        },
        order="layer",
        top=None,
        totals=False,
    )


def strongest(
    build: FigureBuilder,
    result: PathPatching,
    title: str,
    *,
    top: int = TOP,
    controls: bool = True,
    **more: Any,
) -> Panel:
    """The strongest senders as bars, controls under them; ``more`` goes into the keys."""
    measure, frame = _measure(result), result.strongest(top)
    names = ("change", "change_low", "change_high")
    effect = names if measure == "change" else ("delta", "low", "high")
    rows: list[tuple[str, float, float, float, dict[str, Any]]] = []
    for row in frame.to_dict("records"):
        mlp = row["component"] == "mlp"
        key = {"component": row["component"], "layer": int(row["layer"])}
        key |= {"head": None if mlp else int(row["head"])} | more
        value, low, high = (float(row[name]) for name in effect)
        rows.append((sender_name(row), value, low, high, key))
        drawn = [row[name] for name in ("control", "control_low", "control_high")]
        if controls and not pd.isna(drawn[0]):
            scale = _scale(result, measure)
            rows.append(("↳ control", *(scale * float(v) for v in drawn), key))  # type: ignore[arg-type]
    labels, values, low, high, keys = zip(*rows, strict=True)
    edges: Any = {} if np.isnan(low).all() else {"low": np.array(low), "high": np.array(high)}
    return build.bars(
        labels, np.array(values), title=title, unit=_UNITS[measure], keys=keys, **edges
    )


def said(result: PathPatching) -> list[str]:
    """Under the figure: the control, the counterfactuals, what has no path."""
    origin = result.provenance
    gone = int(np.isnan(result.bands()["heads_delta"].values).sum())
    return [
        f"control: {origin.get('control')}",
        f"counterfactuals: {origin.get('counterfactuals')}, "
        + ("their mean" if origin.get("mode") == "mean" else "one for each prompt")
        + f"; MLPs {origin.get('mlps')}",
        f"{gone} heads are not before the receiver: they have no effect to measure" if gone else "",
        *map(str, origin.get("notes", [])),
    ]


def shown(result: PathPatching) -> PathPatching:
    """The result of what is to be drawn: all facts, or one."""
    fact = result.view_options.get("fact")
    if fact is None:
        return result
    one = PathPatching(result.dataset.isel(fact=[fact]), result.provenance)
    one.view_options = result.view_options
    return one


def build(result: PathPatching) -> Figure:
    """The figure of a map of paths."""
    one, origin = shown(result), result.provenance
    builder = FigureBuilder(
        common.title(result, f"Paths to {origin.get('receiver')}"),
        f"{origin.get('model')} · senders at {origin.get('at')} · π {number(one.base)} logits in "
        "the unchanged run",
        common.caption(origin, "95 % intervals: bootstrap by subject, relations macro-averaged"),
    )
    builder.note(*said(one))
    top = int(result.view_options.get("top", TOP))
    panels = [
        effect_map(builder, one, "Change of π when the sender's output is a counterfactual one"),
        strongest(builder, one, "The strongest senders", top=top),
    ]
    return builder.figure([panels])
