"""Attention knockout: what END loses when it may not read some positions (arXiv 2304.14767).

A sweep blocks END's view of a set of positions in a window of layers around each layer. All of it
runs as one batch on the engine: the prompt's own states are computed once.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from factviz.analysis.attention_packing import pack
from factviz.analysis.attention_sweep import AttentionSweep, default_window
from factviz.analysis.controls import check_draws
from factviz.analysis.knockouts import sweep
from factviz.analysis.outcomes import Target, read_prompts, target_ids
from factviz.analysis.position_sets import Asked, position_sets
from factviz.analysis.windows import checked_windows
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.results.attention_knockout import AttentionKnockout

_DRAWS = 3  # one prompt has no other prompts to average a control over


@torch.inference_mode()
def knock_out_attention(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    window: int | Iterable[int] | None = None,
    groups: Asked = ("subject", "non_subject", "last"),
    target: Target = "top1",
    tokens: bool | None = None,
    controls: int | None = None,
    seed: int = 0,
) -> AttentionKnockout:
    """Block what END reads, set by set and layer by layer, and watch the target's probability.

    END may not attend to the set in the layers max(0, l − w // 2) … min(L, l − (−w // 2)) − 1
    around layer l: at both ends windows are cut. The rest of the attention row is renormalised;
    where nothing is left, attention adds nothing but its bias.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    window : int or several, optional
        Width of the window in layers; several make a sweep over widths. By default 9 of 48 layers,
        scaled to this model and odd.
    groups : names or mapping
        Names: "subject", "non_subject" (all but subject and END, BOS with it), "last" (END itself),
        "subject_last", "bos", "prefix", "relation", "all". Or positions by a name of your own, for
        all facts or one mapping a fact; −1 is END.
    target : {"top1", "answer"} or int
        The token to watch: the model's own top-1 in the clean run (as the paper does), the answer,
        or a token id.
    tokens : bool, optional
        Block each single position too (the heat map); by default for one `Fact` only.
    controls : int, optional
        Draws of as many random keys for every set; by default 3 for one fact, 1 for each of
        several. They avoid the set, and BOS and END if they can.
    seed : int
        Of the draws.

    Returns
    -------
    AttentionKnockout
        probability [fact, group, layer] and change in percent of the clean run; control, the same
        for random keys; tokens [layer, position] for the heat map. ``.curves()`` gives means over
        facts with bootstrap bands.

    Raises
    ------
    FactvizError
        If a window is below 1, a set is empty, unknown, overlaps another or leaves the prompt, the
        target is unknown, or logits are not finite.
    KeyboardInterrupt
        Goes on after an interrupt; what was finished is kept, see `factviz.partial_result`.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767.
    """
    prompts = read_prompts(model, facts)
    draws = (_DRAWS if prompts.single else 1) if controls is None else controls
    check_draws(draws)
    asked = AttentionSweep(
        prompts=prompts,
        windows=checked_windows(window, default_window(model.n_layers)),
        sets=position_sets(groups, prompts.facts, prompts.tokens),
        target=target,
        targets=target_ids(prompts, target),
        tokens=prompts.single if tokens is None else tokens,
        draws=draws,
        seed=seed,
    )
    return sweep(prompts, asked.start, lambda done: pack(asked, done), "attention knockout")
