"""The attributes rate of a late state, in changed runs: an outcome of the sublayer knockout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from factviz.analysis.attributes_rate import top_tokens
from factviz.analysis.outcomes import Prompts
from factviz.analysis.vocabularies import (
    Vocabularies,
    Vocabulary,
    kept_tokens,
    subject_vocabularies,
)
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Keep

_PAPER = (40, 48)  # the paper's late block, and the layers of its model


def late_block(model: FactModel, asked: int | None) -> int:
    """The block whose output is read: block 40 of 48, scaled, unless one is named.

    Raises
    ------
    FactvizError
        If the model has no such block.
    """
    last = model.n_layers - 1
    if asked is None:
        return min(last, round(_PAPER[0] * model.n_layers / _PAPER[1]))
    if not 0 <= asked <= last:
        raise FactvizError(f"block {asked} does not exist: the model has 0 to {last}")
    return asked


@dataclass
class LateRate:
    """What share of a late state's top tokens are attributes of the subject.

    Attributes
    ----------
    block : int
        The state that this block leaves is read.
    top_k : int
    vocabulary
        As `attributes_rate` takes it.
    """

    prompts: Prompts
    block: int
    top_k: int
    vocabulary: Vocabulary | None

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise FactvizError(f"top_k={self.top_k} tokens are none: ask for 1 or more")

    @cached_property
    def kept(self) -> Bool[np.ndarray, " vocab"]:
        """The tokens that count."""
        return kept_tokens(self.prompts.model)

    @cached_property
    def attributes(self) -> Vocabularies:
        """The attribute tokens of each fact's subject."""
        return subject_vocabularies(
            self.prompts.model, self.prompts.facts, self.vocabulary, self.kept
        )

    def keep(self, position: int) -> Keep:
        """What a run must record."""
        return Keep("state", [position], [self.block + 1])

    def of(self, fact: int, states: Float[Tensor, "n d_model"]) -> Float[np.ndarray, " n"]:
        """The rates of states, as fractions; NaN for a state that was not computed."""
        ids = self.attributes.ids[fact]
        there = states.isfinite().all(-1)
        found = np.full(len(states), np.nan)
        if ids and bool(there.any()):
            tops = top_tokens(self.prompts.model, states[there], self.kept, self.top_k)
            found[there.cpu().numpy()] = np.isin(tops, list(ids)).mean(-1)
        return found
