"""Whether a model's blocks are parallel: there is no state between attention and MLP then."""

from __future__ import annotations

from collections.abc import Sequence

from factviz.models.factmodel import FactModel
from factviz.models.interventions import Keep, ReplaceSublayer
from factviz.models.runs import run


def parallel_blocks(model: FactModel, ids: Sequence[int]) -> bool:
    """Whether a layer's MLP does not see what its attention writes; tried, not looked up.

    Parameters
    ----------
    model : FactModel
    ids : sequence of int
        Any prompt's tokens, BOS included.
    """
    layer = model.n_layers // 2
    without = [ReplaceSublayer("attention", layer, [-1], scale=0.0)]
    runs = run(model, ids, [without], keep=[Keep("mlp", [-1], [layer])])
    clean, changed = runs.clean_kept[0], runs.kept[0][0]
    return bool((clean - changed).abs().max() <= 1e-3 * clean.abs().max())
