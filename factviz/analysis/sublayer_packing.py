"""A sublayer knockout's numbers with their axes, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Int

from factviz.analysis.knockouts import (
    Reading,
    mean_of_draws,
    tables,
    target_coordinates,
    target_notes,
    target_words,
)
from factviz.analysis.places import told
from factviz.analysis.provenance import RAW, fact_coordinates, position_coordinates, provenance
from factviz.analysis.sublayer_sweep import PAPER_WINDOW, SUBLAYERS, SublayerSweep, default_window
from factviz.results.sublayer_knockout import SublayerKnockout

_MODES = {
    "zero": "the whole update removed, its bias too",
    "reference": "neuron activations zeroed (the output bias stays), attention made uniform",
}


def pack(asked: SublayerSweep, readings: list[Reading]) -> SublayerKnockout:
    """Label the axes of what was read of the first facts."""
    count, kinds, layers = len(readings), len(SUBLAYERS), asked.n_layers
    tokens = asked.prompts.tokens[:count]
    longest = max(map(len, tokens))
    shapes = {
        "outcome": (kinds, layers),
        "control": (kinds, asked.draws, layers),
        "tokens": (kinds, longest, layers),
    }
    found = tables(shapes, readings)
    swept = ("fact", "sublayer", "layer")
    unit = {"units": "probability" if asked.rate is None else "fraction"}
    data: dict[str, Any] = {
        "outcome": (swept, found["outcome"], unit),
        "base": ("fact", np.array([r.base for r in readings]), unit),
        "cancelled": (("fact", "position"), _cancelled(asked, count, longest)),
    }
    if asked.draws:
        data["control"] = (swept, mean_of_draws(found["control"]), unit)
    if asked.tokens:
        heat = ("fact", "sublayer", "layer", "position")
        data["tokens"] = (heat, np.moveaxis(found["tokens"], -1, 2), unit)
    positions = position_coordinates(tokens)
    positions["source_group"] = positions.pop("group")
    coords = {
        **fact_coordinates(asked.prompts.facts[:count]),
        **target_coordinates(asked.prompts.model, readings),
        **positions,
        "sublayer": np.array(SUBLAYERS, dtype=str),
        "layer": np.arange(layers),
    }
    name = "probability" if asked.rate is None else "attributes_rate"
    attrs = {"single": asked.prompts.single, "outcome": name}
    dataset = xr.Dataset(data, coords=coords, attrs=attrs)
    return SublayerKnockout(dataset, _provenance(asked, readings))


def _cancelled(asked: SublayerSweep, count: int, length: int) -> Int[np.ndarray, "fact position"]:
    """At which positions updates were cancelled."""
    found = np.zeros((count, length), dtype=np.int8)
    for fact, places in enumerate(asked.places[:count]):
        found[fact, list(places)] = 1
    return found


def _provenance(asked: SublayerSweep, readings: list[Reading]) -> dict[str, Any]:
    prompts, rate, count = asked.prompts, asked.rate, len(readings)
    default = asked.width == default_window(asked.n_layers)
    said = f" (the default: {PAPER_WINDOW} of 48 layers, scaled)" if default else ""
    more: dict[str, Any] = {}
    if rate is not None:
        more = {"block": rate.block, "top_k": rate.top_k, "vocabulary": rate.attributes.source}
    return provenance(
        prompts.model,
        prompts.tokens[:count],
        kind=SublayerKnockout.kind,
        projection="the model's own output" if rate is None else RAW,
        layer_norm="recomputed in every run" if rate is None else "none",
        target=_target(asked),
        notes=_notes(asked, readings),
        at=told(asked.at),
        mode=f"{asked.mode}: {_MODES[asked.mode]}",
        window=asked.width,
        window_rule=f"windows {asked.width} wide from each layer on, cut at the end{said}",
        control=_control(asked),
        seed=asked.seed,
        facts=count,
        **more,
    )


def _target(asked: SublayerSweep) -> str:
    if asked.rate is None:
        return target_words(asked.target)
    return (
        f"share of the first {asked.rate.top_k} tokens that are attributes of the subject, in the "
        f"state that block {asked.rate.block} leaves (block 40 of 48 in the paper)"
    )


def _control(asked: SublayerSweep) -> str:
    if not asked.draws:
        return "none"
    where = "outside the subject, and without BOS and END where the others suffice"
    if asked.rate is not None:
        where = "outside the subject and before the state that is read"
    return f"as many random positions, {asked.draws} draws a fact, {where}"


def _notes(asked: SublayerSweep, readings: list[Reading]) -> list[str]:
    count = len(readings)
    if asked.rate is None:
        notes = target_notes(asked.prompts, readings, asked.target)
    else:
        notes = list(asked.rate.attributes.notes)
        none = sum(not reading.base > 0 for reading in readings)
        if none:
            notes.append(f"in {none} of {count} facts the clean rate is 0: there is no percentage")
        mean = float(np.mean([len(ids) for ids in asked.rate.attributes.ids]))
        notes.append(
            f"{mean:.1f} attributes a subject: the rate can't pass "
            f"{min(1.0, mean / asked.rate.top_k):.2g}"
        )
    bare = asked.draws and sum(not all(asked.drawn(fact)) for fact in range(count))
    if bare:
        notes.append(f"{bare} of {count} facts have no other position to draw: no control")
    return notes
