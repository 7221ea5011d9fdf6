"""Give blocks the state of an earlier layer, or of another prompt (P3 point 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from factviz.analysis.components import SAME
from factviz.analysis.controls import check_draws
from factviz.analysis.counterfactuals import Counterfactuals, check_sizes, sources_of
from factviz.analysis.experiments import Experiment, experiment
from factviz.analysis.outcomes import Prompts, Target, answer_id, generators, read_prompts
from factviz.analysis.places import Where, layers_of, listed, positions, told
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Keep, ReplaceState, Variant
from factviz.models.runs import prepare
from factviz.results.causal import Causal

_DEPTHS = (0, 1, 5, 10, 20)  # of 48 layers (P3, GPT-2 XL)


def patch_states(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    counterfactuals: Counterfactuals | None = None,
    *,
    at: Where = "subject_last",
    layers: int | Iterable[int] | None = None,
    depths: int | Iterable[int] | None = None,
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
    allow_idle: bool = False,
) -> Causal:
    """Give blocks the state of an earlier layer, or of another prompt, at some positions.

    Without counterfactuals (P3 point 5): one run for each depth *d*, in which the input of every
    later block of `layers` at these positions is the prompt's own input of block *d*, so that what
    the layers from *d* on wrote there is missing. With them: one run for each of `layers`, in which
    that block's input at these positions is the other prompt's, and the blocks above go on from
    it. The control does the same at as many random positions (neither BOS nor END).

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    counterfactuals : Fact, iterable of Fact or "other_subject", optional
        As for `patch_heads`.
    at
        Position set; the subject's last token without it.
    layers : int or iterable of int, optional
        Blocks whose input is replaced; all (that a depth leaves) without it.
    depths : int or iterable of int, optional
        Whose own input is taken; by default 0, 1, 5, 10 and 20 of 48, scaled to the model.
    target, controls, seed, allow_idle
        As for `block_attention`.

    Returns
    -------
    Causal
        With counterfactuals, ``source_probability`` is the probability of the other's answer.

    Raises
    ------
    FactvizError
        If a layer or depth does not exist or leaves no block above it, a position set is empty or
        differs in size, nothing changed, or logits are NaN.

    References
    ----------
    Geva et al., arXiv 2304.14767.
    """
    check_draws(controls)
    prompts = read_prompts(model, facts)
    at = listed(at)
    rngs = generators(len(prompts.facts), seed)
    if counterfactuals is not None:
        if depths is not None:
            raise FactvizError("depths are layers of the prompt itself: leave out counterfactuals")
        sources = sources_of(prompts, counterfactuals, at, rngs)
        patch = _OtherStates(prompts, sources, at, layers_of(model, layers), allow_idle=allow_idle)
    else:
        patch = _EarlyStates(prompts, at, early_layers(model, depths), layers_of(model, layers))

    def make(fact: int) -> Experiment:
        return patch.experiment(fact, controls, rngs[fact])

    return experiment(
        prompts,
        patch.components,
        make,
        verb="patch_states",
        asked={"at": told(at), **patch.asked},
        control="the same at as many random positions, neither BOS nor END",
        target=target,
        draws=controls,
        allow_idle=allow_idle,
        notes=patch.notes,
    )


def early_layers(model: FactModel, depths: int | Iterable[int] | None) -> tuple[int, ...]:
    """Layers whose input stands for an early state: 0, 1, 5, 10 and 20 of 48, scaled, for None.

    Raises
    ------
    FactvizError
        If one does not exist or has no block above it, or none is named.
    """
    count = model.n_layers
    if depths is None:
        return tuple(sorted({min(round(d * count / 48), max(0, count - 2)) for d in _DEPTHS}))
    found = layers_of(model, depths)
    if found[-1] == count - 1:
        raise FactvizError(
            f"no block stands above layer {found[-1]} to give its state to: the model has layers "
            f"0 to {count - 1}"
        )
    return found


def freeze_states(
    early: Tensor, depth: int, at: Sequence[int], layers: Iterable[int]
) -> list[ReplaceState]:
    """The input of every later block at these positions is what stood there at `depth`.

    ``early`` is [position, d_model].
    """
    return [ReplaceState(layer, at, early) for layer in layers if layer > depth]


class _EarlyStates:
    """Patches from the prompt's own earlier layers."""

    def __init__(
        self, prompts: Prompts, at: Where, depths: Sequence[int], layers: Sequence[int]
    ) -> None:
        self.prompts, self.at, self.depths, self.layers = prompts, at, depths, layers
        self.notes: list[str] = []
        if layers[-1] <= depths[-1]:
            raise FactvizError(
                f"no block of layers {list(layers)} stands above depth {depths[-1]}: give earlier "
                "depths or later layers"
            )
        self.components = [f"state {depth} kept" for depth in depths]
        self.asked = {"depths": list(depths), "layers": list(layers)}

    def experiment(self, fact: int, draws: int, rng: np.random.Generator) -> Experiment:
        model, row = self.prompts.model, self.prompts.tokens[fact]
        here = positions(self.prompts.facts[fact], row, self.at)
        keep = [Keep("state", range(len(row)), self.depths)]
        states = prepare(model, row.ids, (), keep=keep).clean_kept[0]

        def variant(index: int, at: Sequence[int]) -> Variant:
            return freeze_states(states[index, list(at)], self.depths[index], at, self.layers)

        others = [p for p in range(len(row) - 1) if p not in here and p not in row.groups["bos"]]
        drawn = _random_sets(others, len(here), draws, rng)
        every = range(len(self.depths))
        return Experiment(
            [variant(index, here) for index in every],
            [[variant(index, at) for at in drawn] for index in every],
        )


class _OtherStates:
    """Patches from another prompt's same layer."""

    def __init__(
        self,
        prompts: Prompts,
        sources: Prompts,
        at: Where,
        layers: Sequence[int],
        *,
        allow_idle: bool,
    ) -> None:
        self.prompts, self.sources, self.at, self.layers = prompts, sources, at, layers
        self.allow_idle = allow_idle
        self.notes: list[str] = []  # filled while facts are run
        self.components = [f"input of block {layer}" for layer in layers]
        self.asked = {
            "layers": list(layers),
            "counterfactuals": [fact.prompt for fact in sources.facts],
        }

    def experiment(self, fact: int, draws: int, rng: np.random.Generator) -> Experiment:
        model, row = self.prompts.model, self.prompts.tokens[fact]
        other = self.sources.tokens[fact]
        here = positions(self.prompts.facts[fact], row, self.at)
        there = positions(self.sources.facts[fact], other, self.at)
        check_sizes(here, there, self.at)
        keep = [Keep("state", range(len(other)), self.layers)]
        states = prepare(model, other.ids, (), keep=keep).clean_kept[0]
        own = prepare(model, row.ids, (), keep=[Keep("state", here, self.layers)]).clean_kept[0]
        gap = (own - states[:, list(there)]).abs().flatten(1).amax(1)
        alike = gap <= SAME * own.abs().flatten(1).amax(1)
        same = [layer for layer, one in zip(self.layers, alike.tolist(), strict=True) if one]
        if len(same) == len(self.layers) and not self.allow_idle:
            raise FactvizError(
                f"the states of {told(self.at)} are the same in the fact's and the "
                "counterfactual's prompt, so that nothing changes: give another counterfactual or "
                "later layers, or allow_idle=True"
            )
        if same:
            self.notes.append(
                f"input of blocks {same}: in some facts the same in both prompts, without effect"
            )

        def variant(index: int, at: Sequence[int], taken: Sequence[int]) -> Variant:
            return [ReplaceState(self.layers[index], at, states[index, list(taken)])]

        pairs = _alike(row, other, here, there)
        drawn = _random_sets(list(pairs), len(here), draws, rng)
        every = range(len(self.layers))
        return Experiment(
            [variant(index, here, there) for index in every],
            [[variant(index, at, [pairs[p] for p in at]) for at in drawn] for index in every],
            answer_id(model, self.sources.facts[fact]),
            allow_idle=True,  # that all are alike has been looked at
        )


def _alike(
    row: PromptTokens, other: PromptTokens, here: Sequence[int], there: Sequence[int]
) -> dict[int, int]:
    """Positions behind the patched ones, and their counterparts: as far from END.

    What lies before them is often the same text in both prompts, and would be no control.
    """
    shift = len(other) - len(row)
    return {
        p: p + shift
        for p in range(min(here) + 1, len(row) - 1)
        if p not in here and p + shift > min(there) and p + shift not in there
    }


def _random_sets(
    pool: Sequence[int], size: int, draws: int, rng: np.random.Generator
) -> list[list[int]]:
    """Random positions, as many as there are to draw up to `size`; none from an empty pool."""
    if not pool:
        return []
    size = min(size, len(pool))
    return [sorted(int(p) for p in rng.choice(pool, size, replace=False)) for _ in range(draws)]
