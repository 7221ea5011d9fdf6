"""X and Y through the residual stream, as lines with bands beside another fact's."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.token_trace import LEAD, TOKENS, TokenTrace
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

_MEASURES = {
    "logit": ("Centred logit of topic X and answer Y at END", "logits"),
    "log10_rank": ("Rank in the vocabulary (0 is the top, 3 the thousandth)", "log10 of rank"),
}


def _path(values: Any, parallel: bool) -> np.ndarray:
    """One value for each state on the way: r_pre of the first layer, then r_mid and r_post."""
    steps = values[:, 2:] if parallel else values[:, 1:]
    return np.concatenate([values[:1, 0], steps.ravel()])


def _lines(build: FigureBuilder, result: TokenTrace, bands: Any, measure: str) -> Panel:
    title, unit = _MEASURES[measure]
    series: list[dict[str, Any]] = []
    for name in (*TOKENS, *([LEAD] if measure == "logit" else [])):
        paths = [
            _path(bands[measure + edge].sel(token=name).values, result.parallel)
            for edge in ("", "_low", "_high")
        ]
        if np.isnan(paths[0]).all():
            continue
        label = name if name in ("X", "Y", LEAD) else f"control: {name.replace('other', 'other’s')}"
        made: dict[str, Any] = {"label": label, "values": paths[0]}
        if not np.isnan(paths[1]).any():
            made |= {"low": paths[1], "high": paths[2]}
        series.append(made)
    count = len(series[0]["values"])
    return build.lines(
        np.arange(count) * (1.0 if result.parallel else 0.5),
        series,
        title=title,
        x_title="blocks passed"
        if result.parallel
        else "blocks passed (and a half: behind attention)",
        unit=unit,
    )


def build(result: TokenTrace) -> Figure:
    """The figure of a trace: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = TokenTrace(result.dataset.isel(fact=[fact]), result.provenance)
    provenance = result.provenance
    builder = FigureBuilder(
        common.title(result, "X and Y in the residual stream"),
        f"{provenance.get('model')} · {provenance.get('target')}",
        common.caption(provenance, "95 % bands: bootstrap by subject, mean over relations"),
    )
    builder.note(f"control: {provenance.get('control')}", *map(str, provenance.get("notes", [])))
    bands = shown.bands()
    return builder.figure([[_lines(builder, shown, bands, name) for name in _MEASURES]])
