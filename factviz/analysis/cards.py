"""What a causal sweep shows on an embedded model, measured and written into its card.

``python -m factviz.analysis.cards mini`` runs the built-in facts through the knockouts, and puts
the figures into ``measured.json`` and ``CARD.md`` beside the weights.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
import xarray as xr

from factviz.analysis.attention_knockout import knock_out_attention
from factviz.analysis.sublayer_knockout import knock_out_sublayers
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel
from factviz.models.loading import load_model
from factviz.models.mini.card import card
from factviz.models.mini.package import WEIGHTS

EVERY = 12
"""Every twelfth built-in fact: all relations, about 250 prompts."""
WINDOWS = (1, 3)
GROUPS = ("subject", "relation")


def measure_directions(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """The curves of both knockouts on a set of facts.

    Parameters
    ----------
    model : FactModel
    facts : FactSet
    seed : int
        Of controls and resamples.

    Returns
    -------
    dict
        facts (how many); attention and sublayers: one entry a curve, with mean, low, high and
        control [layer], percent of the clean probability.
    """
    attention = knock_out_attention(model, facts, window=WINDOWS, groups=GROUPS, seed=seed)
    sublayers = knock_out_sublayers(model, facts, seed=seed)
    by_window, by_kind = attention.curves(seed=seed), sublayers.curves(seed=seed)
    return {
        "facts": len(facts),
        "attention": [
            {"window": window, "group": group, **_curve(by_window.sel(window=window, group=group))}
            for window in WINDOWS
            for group in GROUPS
        ],
        "sublayers": [
            {"sublayer": kind, **_curve(by_kind.sel(sublayer=kind))}
            for kind in ("attention", "mlp")
        ],
    }


def _curve(curves: xr.Dataset) -> dict[str, list[float]]:
    names = ("mean", "low", "high", "control")
    return {name: [round(float(value), 2) for value in curves[name].values] for name in names}


def main(name: Annotated[str, typer.Argument(help="an embedded model")] = "mini") -> None:
    """Measure an embedded model's directions and write its card again."""
    folder = WEIGHTS / name
    measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    facts = FactSet.builtin()[::EVERY]
    measured["directions"] = measure_directions(load_model(name), facts)
    (folder / "measured.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    (folder / "CARD.md").write_text(card(name, measured), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
