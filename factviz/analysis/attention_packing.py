"""An attention knockout's numbers with their axes, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Int

from factviz.analysis.attention_sweep import PAPER_WINDOW, AttentionSweep, default_window
from factviz.analysis.knockouts import (
    Reading,
    mean_of_draws,
    tables,
    target_coordinates,
    target_notes,
    target_words,
)
from factviz.analysis.provenance import fact_coordinates, position_coordinates, provenance
from factviz.facts.fact import Fact
from factviz.results.attention_knockout import AttentionKnockout


def pack(asked: AttentionSweep, readings: list[Reading]) -> AttentionKnockout:
    """Label the axes of what was read of the first facts."""
    count = len(readings)
    facts, tokens = asked.prompts.facts[:count], asked.prompts.tokens[:count]
    longest = max(map(len, tokens))
    widths, groups = len(asked.windows), len(asked.sets)
    found = tables(
        {
            "probability": (widths, groups, asked.n_layers),
            "control": (widths, groups, asked.draws, asked.n_layers),
            "tokens": (widths, longest, asked.n_layers),
        },
        readings,
    )
    swept = ("fact", "window", "group", "layer")
    unit = {"units": "probability"}
    data: dict[str, Any] = {
        "probability": (swept, found["probability"], unit),
        "base": ("fact", np.array([r.base for r in readings]), unit),
        "blocked": (("fact", "group", "position"), _blocked(asked, count, longest)),
    }
    if asked.draws:
        data["control"] = (swept, mean_of_draws(found["control"]), unit)
    if asked.tokens:
        heat = ("fact", "window", "layer", "position")
        data["tokens"] = (heat, np.moveaxis(found["tokens"], -1, 2), unit)
    dataset = xr.Dataset(data, coords=_coordinates(asked, facts, readings))
    dataset.attrs = {"single": asked.prompts.single}
    return AttentionKnockout(dataset, _provenance(asked, readings))


def _blocked(asked: AttentionSweep, count: int, length: int) -> Int[np.ndarray, "fact group n"]:
    """Which positions each set holds."""
    found = np.zeros((count, len(asked.sets), length), dtype=np.int8)
    for group, by_fact in enumerate(asked.sets.values()):
        for fact, keys in enumerate(by_fact[:count]):
            found[fact, group, list(keys)] = 1
    return found


def _coordinates(
    asked: AttentionSweep, facts: Sequence[Fact], readings: Sequence[Reading]
) -> dict[str, Any]:
    positions = position_coordinates(asked.prompts.tokens[: len(facts)])
    positions["source_group"] = positions.pop("group")
    return {
        **fact_coordinates(facts),
        **target_coordinates(asked.prompts.model, readings),
        **positions,
        "window": np.array(asked.windows),
        "group": np.array(list(asked.sets), dtype=str),
        "layer": np.arange(asked.n_layers),
    }


def _provenance(asked: AttentionSweep, readings: list[Reading]) -> dict[str, Any]:
    prompts, count = asked.prompts, len(readings)
    widths = ", ".join(map(str, asked.windows))
    default = asked.windows == (default_window(asked.n_layers),)
    said = f" (the default: {PAPER_WINDOW} of 48 layers, scaled and odd)" if default else ""
    return provenance(
        prompts.model,
        prompts.tokens[:count],
        kind=AttentionKnockout.kind,
        projection="the model's own output",
        layer_norm="recomputed in every run",
        target=target_words(asked.target),
        notes=[*target_notes(prompts, readings, asked.target), *_notes(asked, count)],
        window=list(asked.windows),
        window_rule=f"windows {widths} wide around each layer, cut at both ends{said}",
        blocked="END may not attend to the set; the rest of the row is renormalised",
        control=_control(asked),
        seed=asked.seed,
        facts=count,
    )


def _control(asked: AttentionSweep) -> str:
    if not asked.draws:
        return "none"
    return (
        f"as many random keys, {asked.draws} draws a fact and set, outside the set, and without "
        "BOS and END where the others suffice"
    )


def _notes(asked: AttentionSweep, count: int) -> list[str]:
    notes: list[str] = []
    for name, by_fact in asked.sets.items():
        empty = sum(not keys for keys in by_fact[:count])
        if empty:
            notes.append(f"{empty} of {count} facts have no position in {name!r}: no values")
    for number, name in enumerate(asked.sets):
        rows = zip(asked.drawn[:count], asked.sets[name][:count], strict=True)
        mixed = sum(any(set(keys) & set(draw) for draw in draws[number]) for draws, keys in rows)
        if mixed:
            notes.append(
                f"control of {name!r}: in {mixed} of {count} facts too few positions are outside "
                "the set, and random keys overlap with it"
            )
    return notes
