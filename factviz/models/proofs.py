"""Whether a model's blocks can be run by themselves, with a shared prefix and masks of our own.

Families differ in what their blocks want, and the next one may differ in a new way. So the first
prompt of every model is a trial: unchanged rows must give the model's own logits, and every layer
must take its mask. What fails is not used, and says why.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.models.clean_runs import CleanRun
from factviz.models.factmodel import FactModel
from factviz.models.fingerprint import state
from factviz.models.plans import Kept, Plan
from factviz.models.recording import logits_at_end
from factviz.models.shared_prefix import ChangedRuns

_FAILURES = (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError)


class Proof(NamedTuple):
    """How a model is run: its attention implementation, and why its cache is not shared, if so."""

    attention: str
    reason: str


# With the state of the weights: a bridge holds the parts of a joint QKV a second time, and an edit
# of one of the two is seen here as logits that differ.
_proven: weakref.WeakKeyDictionary[FactModel, tuple[Any, Proof]] = weakref.WeakKeyDictionary()


def proven(model: FactModel, ids: Sequence[int]) -> Proof:
    """Try a model on a prompt, once while its weights stay; call it under the model's lock.

    Raises
    ------
    FactvizError
        If not even whole prompts give the model's own logits.
    """
    weights = [state(tensor) for tensor in model.network.parameters()]
    if model in _proven and _proven[model][0] == weights:
        return _proven[model][1]
    own = logits_at_end(model.network, model.geometry, *model.padded([ids]))[0]
    # Eager first: sdpa drops soft-caps. Falcon's ALiBi is right in sdpa alone (transformers 5.23).
    failures: list[str] = []
    for attention in ("eager", "sdpa"):
        reason, failure = _tried(model, ids, own, attention)
        if not failure:
            proof = Proof(attention, reason)
            if len(ids) > 1:  # one token alone proves nothing about masks
                _proven[model] = (weights, proof)
            return proof
        failures.append(f"{failure} ({attention} attention)")
    raise FactvizError(f"interventions do not work on {model.name}: {'; '.join(failures)}")


def _tried(
    model: FactModel, ids: Sequence[int], own: Float[Tensor, " vocab"], attention: str
) -> tuple[str, str]:
    """Why the cache can't be shared, and why nothing works; each "" if it is not so."""
    every_head = Kept("heads", [len(ids) - 1], list(range(model.n_layers)))
    try:
        clean = CleanRun(model, ids, [every_head], attention)
    except _FAILURES as error:
        if isinstance(error, FactvizError):
            raise
        return "", f"its modules can't be run without the bridge ({_said(error)})"
    if gap := _gap(clean.logits, own):
        return "", f"its modules, run without the bridge, are off by {gap:.2g}"
    reason = "" if clean.shares else "the model returned no cache of the whole prompt"
    reason = reason or _trial(clean, share=True)
    return reason, _trial(clean, share=False) if reason else ""


def _trial(clean: CleanRun, *, share: bool) -> str:
    """What goes wrong when nothing is changed, or when masks close all but END itself."""
    end, layers = clean.length - 1, range(len(clean.parts))
    free = [Plan(first=end, start=layer) for layer in layers]
    others = tuple(range(end))
    blocked = [Plan(first=end, start=layer, blocks={layer: [((end,), others)]}) for layer in layers]
    suffix = Plan(first=max(0, end - 2), start=0)
    try:
        runs = ChangedRuns(clean, [*free, suffix, *blocked], share=share)
        logits = runs.logits()[: len(free) + 1]
    except _FAILURES as error:
        return f"its blocks can't be run alone ({_said(error)})"
    if gap := _gap(logits, clean.logits):
        return f"its blocks, run alone, do not give its logits (off by {gap:.2g})"
    # Both rows of a pair enter this layer alike: only the mask tells them apart.
    heads = runs.kept[0][:, :, 0]
    pairs = [(heads[i, i], heads[len(free) + 1 + i, i]) for i in layers]
    dead = [i for i, pair in zip(layers, pairs, strict=True) if _alike(*pair)]
    return f"layers {dead} take no attention mask" if dead and end else ""


def _gap(found: Tensor, wanted: Tensor) -> float:
    """The largest difference in logits, where it is too large; else 0."""
    gap = (found - wanted).abs().max().item()
    loose = 1e-4 if _exact(wanted) else 2e-2
    return 0.0 if gap <= loose * max(1.0, wanted.abs().max().item()) else gap


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two rows differ by no more than their place in a batch makes them differ."""
    loose = (64 if _exact(one) else 4) * torch.finfo(one.dtype).eps
    return bool((one - other).abs().max() <= loose * one.abs().max())


def _exact(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float32, torch.float64)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
