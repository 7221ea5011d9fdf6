"""Extraction events as a figure: a table of prompts or layers, rates by layer, rates by prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.results.extraction import SUBLAYERS, Extraction
from factviz.results.shown import token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

MAX_PROMPTS = 200
MAX_LINKED = 12
MAX_CURVES = 6
_NAMES = {"attention": "attention", "mlp": "MLP"}


def _reciprocal(rank: np.ndarray) -> np.ndarray:
    return 1 / rank.astype(np.float64)


def _page_names(data: xr.Dataset) -> list[str]:
    return [f"{_NAMES[kind]}, {name}" for name in data["variant"].values for kind in SUBLAYERS]


def _prompt_table(build: FigureBuilder, data: xr.Dataset) -> Panel:
    """Prompts × layers; a row names a fact, so that its own figures can follow."""
    count = min(data.sizes["fact"], MAX_PROMPTS)
    layers = common.picked_layers(data.sizes["layer"])
    if count < data.sizes["fact"]:
        build.note(f"{count} of {data.sizes['fact']} prompts are drawn; .to_frame() has all.")
    if len(layers) < data.sizes["layer"]:
        build.note(f"{len(layers)} of {data.sizes['layer']} layers are drawn.")
    ranks = data["rank"].values[:count][..., layers]  # [fact, run, sublayer, layer]
    pages = np.moveaxis(ranks, 0, 2).reshape(-1, count, len(layers))
    labels = [
        f"{common.short(str(subject), 16)} → {token_text(str(token), 10)}"
        for subject, token in zip(data["subject"].values, data["target_token"].values, strict=True)
    ][:count]
    return build.matrix(
        _reciprocal(pages),
        title="The target in the updates at END (1 is an extraction event)",
        unit="1 / rank",
        pages={"label": "updates", "options": _page_names(data)},
        rows={"title": "prompt", "labels": labels, "keys": [{"fact": i} for i in range(count)]},
        columns={"title": "layer", "labels": [f"L{i}" for i in layers], "groups": []},
        order="layer",
        top=30 if count > 30 else None,
        limit=1.0,
        totals=False,
    )


def _update_table(build: FigureBuilder, one: xr.Dataset) -> Panel:
    """One prompt: sublayers × layers, each with the token on top."""
    layers = common.picked_layers(one.sizes["layer"])
    labels: list[str] = []
    keys: list[dict[str, Any]] = []
    for layer in layers:
        for sublayer, kind in enumerate(SUBLAYERS):
            token = token_text(str(one["token"].values[0, sublayer, layer]), 14)
            labels.append(f"L{layer} {_NAMES[kind]} → {token}")
            keys.append({"layer": int(layer), "sublayer": kind})
    ranks = one["rank"].values[..., layers]  # [run, sublayer, layer]
    values = np.moveaxis(ranks, 0, -1).swapaxes(0, 1).reshape(-1, one.sizes["run"])
    return build.matrix(
        _reciprocal(values)[None],
        title="The target in the updates at END (1 is an extraction event; → top token, clean run)",
        unit="1 / rank",
        rows={"title": "update", "labels": labels, "keys": keys},
        columns={
            "title": "run",
            "labels": [str(name) for name in one["variant"].values],
            "groups": [],
        },
        order="layer",
        top=None,
        limit=1.0,
        totals=False,
    )


def _scores(build: FigureBuilder, one: xr.Dataset) -> Panel:
    series = [
        {"label": _NAMES[kind], "values": one["score"].values[0, index]}
        for index, kind in enumerate(SUBLAYERS)
    ]
    return build.lines(
        one["layer"].values,
        series,
        title="How much each update raises the target above the vocabulary mean",
        x_title="layer",
        unit="raw projection",
    )


def _curves(build: FigureBuilder, result: Extraction) -> Panel:
    found = result.by_layer()
    series: list[dict[str, Any]] = []
    for run, name in enumerate(result.variants):
        for index, kind in enumerate(SUBLAYERS):
            rate, low, high = (100 * found[k].values[run, index] for k in ("rate", "low", "high"))
            one: dict[str, Any] = {"label": f"{_NAMES[kind]}, {name}", "values": rate}
            series.append(one if np.isnan(low).all() else {**one, "low": low, "high": high})
    if len(series) > MAX_CURVES:
        build.note(f"{MAX_CURVES} of {len(series)} curves are drawn; .by_layer() has all.")
    return build.lines(
        found["layer"].values,
        series[:MAX_CURVES],
        title="Prompts with an extraction event, by layer",
        x_title="layer",
        unit="percent of prompts",
    )


def _rates(build: FigureBuilder, result: Extraction) -> Panel:
    table = result.rates()
    labels = [
        f"{variant}: {sublayer.replace('mlp', 'MLP')}"
        for variant, sublayer in zip(table["variant"], table["sublayer"], strict=True)
    ]
    low, high = (100 * table[name].to_numpy() for name in ("low", "high"))
    known = not np.isnan(low).all()
    return build.bars(
        labels,
        100 * table["rate"].to_numpy(),
        title="Prompts with extraction events in any layer",
        unit="percent of prompts",
        low=low if known else None,
        high=high if known else None,
    )


def _order_note(result: Extraction) -> str:
    row = result.order().iloc[0]
    if not row["prompts"]:
        return ""
    said = [f"attention first in {100 * row['attention_first']:.0f} %"]
    if result.parallel:
        said.append(f"both in one layer, a tie in parallel blocks, in {100 * row['tie']:.0f} %")
    said.append(f"the MLP first in {100 * row['mlp_first']:.0f} %")
    return f"of {row['prompts']} prompts in which both extract (clean run): {', '.join(said)}"


def build(result: Extraction) -> Figure:
    """The figure of extraction events: of one prompt, or of many."""
    chosen = result.view_options.get("fact")
    data = result.dataset
    said = f"{result.provenance.get('model')} · target: {result.provenance.get('target')}"
    builder = FigureBuilder(
        common.title(result, "Extraction"),
        said,
        common.caption(result.provenance, "Updates at END through the output embedding"),
    )
    single = chosen is not None or data.sizes["fact"] == 1
    panels = [_one(builder, data.isel(fact=chosen or 0))] if single else _many(builder, result)
    builder.note(*map(str, result.provenance.get("notes", [])))
    if single:
        return builder.figure(panels)
    linked = [common.short(str(prompt), 60) for prompt in data["prompt"].values]
    options = [f"all {len(linked)} prompts", *linked[: len(panels) - 1]]
    return builder.figure(panels, {"label": "prompt", "options": options})


def _one(build: FigureBuilder, one: xr.Dataset) -> list[Panel]:
    """The trace of one prompt: its updates, and what each adds to the target."""
    table = _update_table(build, one)
    return [table, _scores(build, one)] if one.sizes["layer"] > 1 else [table]


def _many(build: FigureBuilder, result: Extraction) -> list[list[Panel]]:
    """The table of all prompts, and behind the menu the trace of each of the first ones."""
    data = result.dataset
    panels = [_prompt_table(build, data), _rates(build, result)]
    if data.sizes["layer"] > 1:
        panels.insert(1, _curves(build, result))
    build.note("rates: macro-averaged over relations; 95 %, bootstrap by subject")
    build.note(_order_note(result))
    linked = range(min(data.sizes["fact"], MAX_LINKED))
    if len(linked) < data.sizes["fact"]:
        build.note(f"the menu has the first {len(linked)} prompts; .view(fact=…) draws any")
    return [panels, *(_one(build, data.isel(fact=fact)) for fact in linked)]
