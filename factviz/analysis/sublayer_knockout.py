"""Sublayer knockout: what MLP and attention updates at one position do (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch

from factviz.analysis.controls import check_draws
from factviz.analysis.knockouts import sweep
from factviz.analysis.late_rate import LateRate, late_block
from factviz.analysis.outcomes import Target, read_prompts, target_ids
from factviz.analysis.places import Where, positions
from factviz.analysis.sublayer_packing import pack
from factviz.analysis.sublayer_sweep import SublayerSweep, default_window
from factviz.analysis.vocabularies import Vocabulary
from factviz.analysis.windows import checked_windows
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.results.sublayer_knockout import SublayerKnockout

_DRAWS = 3
MODES = ("zero", "reference")
OUTCOMES = ("probability", "attributes_rate")


@torch.inference_mode()
def knock_out_sublayers(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    at: Where = "subject_last",
    window: int | None = None,
    mode: Literal["zero", "reference"] = "zero",
    outcome: Literal["probability", "attributes_rate"] = "probability",
    target: Target = "top1",
    tokens: bool = False,
    controls: int | None = None,
    seed: int = 0,
    block: int | None = None,
    top_k: int = 50,
    vocabulary: Vocabulary | None = None,
) -> SublayerKnockout:
    """Cancel MLP or attention updates at a position, layer by layer, and see what is lost.

    The updates of one kind are cancelled in the window of layers l, l + 1, …, l + w − 1, as far as
    there are any.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    at : str, int or several
        Where: "subject_last", "subject", "end", other names, or positions (−1 is END).
    window : int, optional
        Width in layers; by default 10 of 48 layers, scaled to this model.
    mode : {"zero", "reference"}
        "zero" removes the whole update (the paper's definition). "reference" does as the paper's
        code: neuron activations zeroed, so that the MLP's output bias stays; attention uniform over
        what the position can see.
    outcome : {"probability", "attributes_rate"}
        The target's probability at END; or the share of a state's top tokens that are attributes of
        the subject (see `attributes_rate`), in the state that a late block leaves at the position.
    target : {"top1", "answer"} or int
        The token to watch: the model's own top-1 in the clean run, the answer, or a token id.
    tokens : bool
        Cancel at each single position too (the heat map): as many runs again for every token.
    controls : int, optional
        Draws of as many random positions outside the subject; by default 3 for one fact, 1 for each
        of several. They avoid BOS and END if they can; for the attributes rate they are earlier
        positions, because later ones can't matter.
    seed : int
        Of the draws.
    block : int, optional
        The late block of the attributes rate; by default block 40 of 48, scaled.
    top_k, vocabulary
        Of the attributes rate.

    Returns
    -------
    SublayerKnockout
        outcome [fact, sublayer, layer], probabilities or fractions, and change in percent of the
        clean run; layer is the window's first. control is the same elsewhere.

    Raises
    ------
    FactvizError
        If the window is below 1, a position, mode, outcome, target or block is unknown, an update
        can't be cancelled because there is none, or logits are not finite.
    KeyboardInterrupt
        Goes on after an interrupt; what was finished is kept, see `factviz.partial_result`.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767.
    """
    for name, given, known in (("mode", mode, MODES), ("outcome", outcome, OUTCOMES)):
        if given not in known:
            raise FactvizError(f"{name} {given!r} is unknown: {' or '.join(map(repr, known))}")
    prompts = read_prompts(model, facts)
    draws = (_DRAWS if prompts.single else 1) if controls is None else controls
    check_draws(draws)
    rate = None
    if outcome == "attributes_rate":
        rate = LateRate(prompts, late_block(model, block), top_k, vocabulary)
    elif block is not None or vocabulary is not None:
        raise FactvizError("block and vocabulary belong to outcome='attributes_rate'")
    (width,) = checked_windows((default_window(model.n_layers) if window is None else window,), 1)
    asked = SublayerSweep(
        prompts=prompts,
        at=at,
        places=[positions(fact, row, at) for fact, row in prompts.each()],
        width=width,
        mode=mode,
        target=target,
        targets=target_ids(prompts, target),
        rate=rate,
        tokens=tokens,
        draws=draws,
        seed=seed,
    )
    return sweep(prompts, asked.start, lambda done: pack(asked, done), "sublayer knockout")
