"""An attention knockout as a figure: layers × tokens of a prompt, and curves with controls."""

from __future__ import annotations

import numpy as np
import xarray as xr

from factviz.results.attention_knockout import AttentionKnockout
from factviz.results.shown import number, token_text
from factviz.views import common, knockouts
from factviz.views.spec import Figure, FigureBuilder, Panel

_NAMES = {"non_subject": "non-subject", "last": "END itself", "subject_last": "last of the subject"}


def _heat(build: FigureBuilder, fact: xr.Dataset, width: int) -> Panel:
    """One prompt: END blocked from one token at a time [layer, token]."""
    named = fact[["tokens", "base"]].rename(source_group="group")
    count = common.length(named)
    rows = common.picked_layers(named.sizes["layer"])
    if len(rows) < named.sizes["layer"]:
        build.note(f"{len(rows)} of {named.sizes['layer']} layers are drawn; .tokens holds all.")
    values = named["tokens"].transpose("layer", "position").values[rows, :count]
    base = float(named["base"])
    options = [f"change (clean {number(base)})", "probability left"]
    layers = [int(named["layer"].values[row]) for row in rows]
    return build.matrix(
        np.stack([values - base, values]),
        title=f"One token hidden from END, in {width} layer{'s' if width > 1 else ''} around each",
        pages={"label": "show", "options": options},
        rows={
            "title": "layer",
            "labels": [f"L{layer}" for layer in layers],
            "keys": [{"layer": layer} for layer in layers],
        },
        columns=common.position_columns(named, "token hidden"),
        unit="probability",
        order="layer",
        top=None,
        totals=False,
    )


def _panels(build: FigureBuilder, result: AttentionKnockout, number_of_window: int) -> list[Panel]:
    data = result.dataset.isel(window=[number_of_window])
    one = AttentionKnockout(data, result.provenance)
    width = int(data["window"].values[0])
    panels: list[Panel] = []
    if "tokens" in data and data.sizes["fact"] == 1:
        panels.append(_heat(build, data.isel(fact=0, window=0), width))
    curves = knockouts.curves(
        build,
        one.curves(),
        "group",
        names=_NAMES,
        title=f"END may not read …, in windows of width {width}",
        x_title="layer in the middle of the window",
    )
    return [*panels, curves]


def build(result: AttentionKnockout) -> Figure:
    """The figure: a heat map for one prompt, curves for any number; several widths are a choice."""
    shown, said = knockouts.chosen(result), result.provenance
    base = float(shown.dataset["base"].mean())
    many = shown.dataset.sizes["fact"] > 1
    token = token_text(str(shown.dataset["target_token"].values[0]), 40)
    clean = f"mean clean P {number(base)}" if many else f"clean P({token}) {number(base)}"
    builder = FigureBuilder(
        common.title(result, "Attention knockout"),
        f"{said.get('model')} · {clean} · {said.get('target')}",
        common.caption(
            said,
            f"{knockouts.bands_said(shown)}; {said.get('window_rule')}; "
            f"control: {said.get('control')}",
        ),
    )
    builder.note(*map(str, said.get("notes", [])))
    widths = shown.dataset["window"].values
    panels = [_panels(builder, shown, number) for number in range(len(widths))]
    if len(panels) == 1:
        return builder.figure(panels)
    return builder.figure(panels, {"label": "window", "options": [f"{w} wide" for w in widths]})
