"""Attribute extraction: in which layer attention or MLP writes the answer at END (P3, points 4–6).

An update at END, read through the raw output embedding, is an *event* where its top token is the
target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.outcomes import Prompts, Target, read_prompts, target_ids, target_texts
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.places import Where, listed, positions, told
from factviz.analysis.positions import named_positions
from factviz.analysis.provenance import RAW, fact_coordinates, provenance
from factviz.analysis.reference_blocks import twice_softmaxed
from factviz.analysis.state_patching import early_layers, freeze_states
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.models.geometry import refusal
from factviz.models.interventions import BlockAttention, Keep, Variant
from factviz.models.parallel import parallel_blocks
from factviz.models.runs import Runs, prepare, run
from factviz.results.extraction import SUBLAYERS, Extraction

Scope = Literal["all", "layer"]
Mode = Literal["renormalised", "reference"]

_NUMBERS = 1 << 24


@torch.inference_mode()
def extraction_events(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    blocked: Where | Iterable[Where] = (),
    target: Target = "top1",
    scope: Scope = "all",
    mode: Mode = "renormalised",
    early: Literal["scaled"] | int | Iterable[int] = (),
    early_at: Where = "subject",
) -> Extraction:
    """Find the updates at END whose top token, through the raw output embedding, is the target.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    blocked
        Position sets, by name ("subject", "subject_last", "non_subject", …): for each the events
        are looked for again while END does not see it. Numbers name single positions; a list within
        the list is one set.
    target : {"top1", "answer"} or int
        What is extracted: the clean run's most probable token (as the paper does), the fact's
        answer, or a token id.
    scope : {"all", "layer"}
        Block in all layers at once, or each layer's events with a block in that layer alone.
    mode : {"renormalised", "reference"}
        What is left of an attention row: renormalised, or, as the paper's code has it, put through
        a second softmax (with ``scope="layer"`` only: the first one is the clean run's).
    early : "scaled", int or iterable of int
        Layers *d*; for each the events are looked for again while every later block reads, at
        `early_at`, the input of block *d*. "scaled": 0, 1, 5, 10 and 20 of 48 layers, scaled.
    early_at
        Position set.

    Returns
    -------
    Extraction
        token_id, event, rank and score of the target [sublayer, layer] in the clean run and one
        run for each of `blocked` and `early`; the target's rank in END's and the last subject
        token's states [state].

    Raises
    ------
    FactvizError
        If a set, layer or target is unknown or empty, a block changes nothing, logits are NaN, or
        the output embedding is not as wide as the residual stream.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767, section 6.
    """
    _check_modes(scope, mode)
    prompts = read_prompts(model, facts)
    sets = [blocked] if isinstance(blocked, (str, int)) else [listed(one) for one in blocked]
    changes = _Changes(sets, scope, mode, _depths(model, early), listed(early_at))
    job = _Job(prompts, target, changes)

    def packed() -> Extraction | None:
        return job.packed() if job.found else None

    with kept_on_interrupt(packed):
        for fact in progress(range(len(prompts.facts)), "extraction events"):
            job.run(fact)
    return job.packed()


def _check_modes(scope: str, mode: str) -> None:
    if scope not in ("all", "layer") or mode not in ("renormalised", "reference"):
        raise FactvizError(
            f"scope {scope!r}, mode {mode!r}: scopes are 'all' and 'layer', modes 'renormalised' "
            "and 'reference'"
        )
    if mode == "reference" and scope == "all":
        raise FactvizError(
            "mode='reference' softmaxes the clean run's attention once more, and with scope='all' "
            "the rows of later layers are no longer the clean ones: use scope='layer'"
        )


def _depths(model: FactModel, early: str | int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(early, str):
        if early != "scaled":
            raise FactvizError(f"early={early!r} is unknown: 'scaled', or layers")
        return early_layers(model, None)
    found = [early] if isinstance(early, int) else list(early)
    return early_layers(model, found) if found else ()


@dataclass(frozen=True)
class _Changes:
    """What is hidden from END, and which early states are kept."""

    sets: Sequence[Where]
    scope: Scope
    mode: Mode
    depths: Sequence[int]
    early_at: Where


@dataclass
class _Found:
    """Of one fact: arrays [run, sublayer, layer], [state] for the ranks of states."""

    target: int
    token_id: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    end_rank: np.ndarray
    subject_rank: np.ndarray


class _Job:
    """The events of fact after fact."""

    def __init__(self, prompts: Prompts, target: Target, changes: _Changes) -> None:
        self.prompts, self.model, self.changes = prompts, prompts.model, changes
        self.target, self.wanted = target, target_ids(prompts, target)
        self.found: list[_Found] = []
        self.parallel: bool | None = None
        _check_width(self.model)

    def run(self, fact: int) -> None:
        """One fact: its clean run, and one batch of variants."""
        try:
            self.found.append(self._events(fact))
        except FactvizError as error:
            prompt = self.prompts.facts[fact].prompt[:80]
            where = "" if self.prompts.single else f"fact {fact} ({prompt!r}): "
            raise FactvizError(f"{where}{error}") from error

    def _events(self, fact: int) -> _Found:
        one, row = self.prompts.facts[fact], self.prompts.tokens[fact]
        last_subject = named_positions(one, row).get("subject_last", -1)
        if self.parallel is None:
            self.parallel = parallel_blocks(self.model, row.ids)
        keep = [Keep("attention", [-1]), Keep("mlp", [-1]), Keep("state", [-1, last_subject])]
        variants = [self._blocking(fact, name) for name in self.changes.sets]
        variants += [[v] for v in self._freezing(fact)]
        flat = [variant for some in variants for variant in some]
        # A layer whose window hides the set has nothing to block; all layers may not.
        runs = run(self.model, row.ids, flat, keep=keep, allow_idle=self.changes.scope == "layer")
        wanted = self.wanted[fact]
        target = runs.top if wanted is None else wanted
        updates = torch.stack([_clean(runs), *_changed(runs, [len(some) for some in variants])])
        self._check_blocked(updates)
        ids, ranks, scores = _read(self.model, updates.flatten(0, 2), target)
        shape = updates.shape[:3]
        states = runs.clean_kept[2].transpose(0, 1)  # [END or last subject, state, d_model]
        of_states = _read(self.model, states.flatten(0, 1), target)[1].reshape(2, -1)
        return _Found(target, *(part.reshape(shape) for part in (ids, ranks, scores)), *of_states)

    def _blocking(self, fact: int, name: Where) -> list[Variant]:
        """Variants that hide a set from END: one, or one a layer."""
        model, row = self.model, self.prompts.tokens[fact]
        keys = positions(self.prompts.facts[fact], row, name)
        end, layers = len(row) - 1, range(model.n_layers)
        if self.changes.mode == "reference":
            return twice_softmaxed(model, self.prompts.facts[fact], keys)
        if self.changes.scope == "layer":
            return [[BlockAttention([end], keys, [layer])] for layer in layers]
        return [[BlockAttention([end], keys, layers)]]

    def _freezing(self, fact: int) -> list[Variant]:
        if not self.changes.depths:
            return []
        row = self.prompts.tokens[fact]
        at = positions(self.prompts.facts[fact], row, self.changes.early_at)
        clean = prepare(self.model, row.ids, (), keep=[Keep("state", at, self.changes.depths)])
        states, layers = clean.clean_kept[0], range(self.model.n_layers)
        return [
            freeze_states(states[index], depth, at, layers)
            for index, depth in enumerate(self.changes.depths)
        ]

    def _check_blocked(self, updates: Float[Tensor, "run sublayer layer d_model"]) -> None:
        for index, name in enumerate(self.changes.sets):
            if self.changes.scope == "layer" and torch.equal(updates[0], updates[1 + index]):
                raise FactvizError(f"blocking {told(name)} changes nothing: END sees none of it")

    def packed(self) -> Extraction:
        """The facts that have run, labelled."""
        done, model = len(self.found), self.model
        targets = [one.target for one in self.found]
        ids = np.stack([one.token_id for one in self.found])
        data = self._data(ids, np.array(targets))
        names = [f"{told(name)} blocked" for name in self.changes.sets]
        frozen = [f"{told(self.changes.early_at)} kept at {depth}" for depth in self.changes.depths]
        texts = dict(zip(np.unique(ids).tolist(), target_texts(model, np.unique(ids).tolist()),
                         strict=True))  # fmt: skip
        coords = {
            **fact_coordinates(self.prompts.facts[:done]),
            "run": np.arange(ids.shape[1]),
            "variant": ("run", np.array(["clean", *names, *frozen], dtype=str)),
            "sublayer": np.array(SUBLAYERS),
            "layer": np.arange(model.n_layers),
            "state": np.arange(model.n_layers + 1),
            "token": (_TABLE, np.array([texts[i] for i in ids.ravel().tolist()], dtype=str)
                      .reshape(ids.shape)),
            "target_id": ("fact", np.array(targets)),
            "target_token": ("fact", target_texts(model, targets)),
        }  # fmt: skip
        attrs = {"single": self.prompts.single, "parallel": bool(self.parallel)}
        return Extraction(xr.Dataset(data, coords=coords, attrs=attrs), self._provenance(done))

    def _data(self, ids: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        state = ("fact", "state")
        return {
            "token_id": (_TABLE, ids),
            "event": (_TABLE, ids == targets[:, None, None, None]),
            "rank": (_TABLE, np.stack([one.rank for one in self.found])),
            "score": (_TABLE, np.stack([one.score for one in self.found])),
            "end_rank": (state, np.stack([one.end_rank for one in self.found])),
            "subject_rank": (state, np.stack([one.subject_rank for one in self.found])),
        }

    def _provenance(self, done: int) -> dict[str, Any]:
        words = {"answer": "the answer", "top1": "the clean run's top-1"}
        return provenance(
            self.model,
            self.prompts.tokens[:done],
            kind=Extraction.kind,
            projection=RAW,
            layer_norm="none",
            target=words.get(str(self.target), f"token {self.target}"),
            blocked=[told(name) for name in self.changes.sets],
            scope=self.changes.scope,
            mode=self.changes.mode,
            blocks="parallel" if self.parallel else "sequential",
        )


_TABLE = ("fact", "run", "sublayer", "layer")


def _check_width(model: FactModel) -> None:
    width = model.unembedding[0].shape[1]
    if width != model.d_model:
        raise refusal(
            model.architecture,
            f"its output embedding has {width} dimensions, its residual stream {model.d_model}",
        )


def _clean(runs: Runs) -> Float[Tensor, "sublayer layer d_model"]:
    return torch.stack([kept[:, 0] for kept in runs.clean_kept[:2]])


def _changed(runs: Runs, counts: Sequence[int]) -> list[Float[Tensor, "sublayer layer d_model"]]:
    """The updates of each set: of its one run, or of each layer's own run."""
    updates = torch.stack([kept[:, :, 0] for kept in runs.kept[:2]], 1)
    found: list[Tensor] = []
    first = 0
    for count in counts:
        rows = updates[first : first + count]
        every = torch.arange(count, device=rows.device)
        found.append(rows[0] if count == 1 else rows[every, :, every].transpose(0, 1))
        first += count
    return found


def _read(
    model: FactModel, rows: Float[Tensor, "n d_model"], target: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top token, and the target's rank and score above the vocabulary mean, of each row [n]."""
    embedding = model.unembedding[0]
    parts: list[list[Tensor]] = []
    for some in rows.split(max(1, _NUMBERS // len(embedding))):
        scores = some.to(embedding) @ embedding.T
        scores = scores if scores.dtype == torch.float64 else scores.float()
        own = scores[:, target]
        rank = (scores > own[:, None]).sum(-1) + 1
        parts.append([scores.argmax(-1), rank, own - scores.mean(-1)])
    top, rank, score = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return top, rank, score
