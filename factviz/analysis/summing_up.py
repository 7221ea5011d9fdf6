"""The additive motif: no part alone says the answer, their sum does (arXiv 2402.07321)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.attribution import check_finite, checked_sum
from factviz.analysis.grouped import GROUPS, GroupedParts, grouped_parts
from factviz.analysis.head_classes import PROJECTION, classify_heads
from factviz.analysis.known import known_rows, unknown_note
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.roles import RoleTokens, role_tokens
from factviz.analysis.writes import (
    Owners,
    bias_write,
    constant_logits,
    head_writes,
    vocabulary_logits,
)
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.models.traced import Trace
from factviz.results.additive_motif import AdditiveMotif
from factviz.results.class_rule import CLASSES
from factviz.results.head_classes import HeadClasses
from factviz.results.resampling import macro_means

By = Literal["class", "source"]
DRAWS = 200  # random partitions
_NUMBERS = 1 << 25  # logits of parts held at a time
_BY_CLASS = tuple(f"{name} heads" for name in CLASSES)
_BY_SOURCE = tuple(f"heads from {name} tokens" for name in GROUPS)
# Which of S and R a part's own set holds, a besides.
_OWN = {
    "subject heads": (1,),
    "relation heads": (2,),
    "mixed heads": (1, 2),
    "heads from subject tokens": (1,),
    "heads from relation tokens": (2,),
    "MLPs": (2,),
}


@torch.inference_mode()
def sum_up(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    classes: HeadClasses | None = None,
    *,
    by: By = "class",
    n_boot: int = 200,
    seed: int = 0,
) -> AdditiveMotif:
    """Split the answer's logit into a few parts, and see what each says alone and left out.

    Each part alone is read over the whole vocabulary: the rank of the answer, whether it is the
    top-1, and whether the top-1 lies in the part's own set (S and a for subject heads, R and a for
    relation heads and MLPs).

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Those whose answer is not in the model's top 10 are left out, and counted.
    classes : HeadClasses, optional
        Of relation "all". Without it (and ``by="class"``) heads are classified on one half of the
        facts' subjects and judged on the other, both ways round.
    by : {"class", "source"}
        Heads by their class, or every head's reading by source: subject tokens, relation tokens
        with END, other tokens.
    n_boot : int
        Resamples of subjects behind the 95 % intervals.
    seed : int

    Returns
    -------
    AdditiveMotif

    Raises
    ------
    FactvizError
        If the parts miss the model's logit (rounding apart, 1e-4 of their size), classes are of
        another model, a single fact has no classes, or the model knows none of the facts.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    if by not in ("class", "source"):
        raise FactvizError(f"by={by!r} is unknown: 'class' or 'source'")
    found = as_facts(facts)
    tokens = role_tokens(model, found, seed=seed)
    plan = _plan(model, found, classes, by, seed)
    reader = _Reader(model, tokens, plan)
    grouped = grouped_parts(model, found, tokens, look=reader.look)
    kept = known_rows(found, grouped.rank)
    its, chosen = tokens.take(kept), [found[row] for row in kept]
    dataset = reader.packed(kept, chosen)
    drawn = _random(plan, grouped, kept, chosen, seed)
    dataset["random"] = (("fact_role", "part", "draw"), drawn, {"units": "logits"})
    dataset.attrs = {"single": isinstance(facts, Fact), "n_boot": int(n_boot), "seed": int(seed)}
    origin = provenance(
        model,
        its.prompts,
        kind=AdditiveMotif.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="centred logit at END" + before_cap(model),
        notes=[*plan.notes, *unknown_note(found, kept), *its.notes],
        value_bias="out",
        by=by,
        control=f"{DRAWS} random partitions of all heads into sets of the same sizes",
        excluded=len(found) - len(kept),
    )
    return AdditiveMotif(dataset, origin)


@dataclass(frozen=True)
class _Plan:
    """The parts of heads by name, and for each fact which partition counts."""

    names: tuple[str, ...]
    partitions: list[Owners]
    which: list[int]
    notes: list[str]
    whole_heads: bool

    @property
    def parts(self) -> list[str]:
        """All parts in order, heads in the middle."""
        return ["embedding", *self.names, "MLPs", "biases"]


def _plan(
    model: FactModel, facts: Sequence[Fact], classes: HeadClasses | None, by: By, seed: int
) -> _Plan:
    shape = (model.n_layers, model.n_heads, len(GROUPS))
    if by == "source":
        owners = np.broadcast_to(np.arange(len(GROUPS)), shape)
        return _Plan(_BY_SOURCE, [owners], [0] * len(facts), [], whole_heads=False)
    if classes is not None:
        return _Plan(_BY_CLASS, [_owners(model, classes)], [0] * len(facts), [], whole_heads=True)
    if len({fact.subject for fact in facts}) < 2:
        raise FactvizError(
            "classes cannot be found from one subject: give classes=classify_heads(model, facts) "
            "of more facts, or by='source'"
        )
    own = classify_heads(model, facts, seed=seed, n_blocked=0)
    halves = own.halves()
    side = {str(name): 0 for name in halves[0].dataset["subject"].values}
    note = "heads were classified on one half of the subjects and judged on the other, both ways"
    return _Plan(
        _BY_CLASS,
        [_owners(model, half) for half in halves[::-1]],
        [side.get(fact.subject, 1) for fact in facts],
        [note],
        whole_heads=True,
    )


def _owners(model: FactModel, classes: HeadClasses) -> Owners:
    if not isinstance(classes, HeadClasses):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(
            f"classes must be what classify_heads gives, not {type(classes).__name__}: "
            f"{str(classes)[:60]!r}"
        )
    named = classes.classes.sel(relation="all").values
    if named.shape != (model.n_layers, model.n_heads):
        raise FactvizError(
            f"the classes are of {named.shape[0]} layers × {named.shape[1]} heads, {model.name} "
            f"has {model.n_layers} × {model.n_heads}: classify this model's heads"
        )
    number = np.vectorize(CLASSES.index)(named)
    return np.repeat(number[..., None], len(GROUPS), -1)


class _Reader:
    """Reads every batch's parts over the vocabulary; only what is said of them stays."""

    def __init__(self, model: FactModel, tokens: RoleTokens, plan: _Plan) -> None:
        self.model, self.tokens, self.plan = model, tokens, plan
        self.constant = constant_logits(model)
        self.rows: dict[int, dict[str, Any]] = {}

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """One batch: writes first, then a few facts' logits at a time."""
        writes = self._writes(traced, batch)
        step = max(1, _NUMBERS // (3 * writes.shape[1] * self.model.d_vocab))
        for start in range(0, len(batch), step):
            rows = slice(start, start + step)
            self._read(traced, batch[rows], writes[rows], rows)

    def _writes(self, traced: Trace, batch: Sequence[int]) -> Float[Tensor, "fact part d_model"]:
        count = len(self.plan.names)
        which = torch.tensor([self.plan.which[fact] for fact in batch], device=self.model.device)
        heads = sum(
            head_writes(traced, owners, count) * (which == index)[:, None, None]
            for index, owners in enumerate(self.plan.partitions)
        )
        assert isinstance(heads, Tensor)
        beside = (traced.embedding, traced.mlps.to(heads).sum(1), bias_write(traced))
        first, mlps, bias = (one.to(heads)[:, None] for one in beside)
        return torch.cat([first, heads, mlps, bias], 1)

    def _read(
        self,
        traced: Trace,
        facts: Sequence[int],
        writes: Float[Tensor, "fact part d_model"],
        rows: slice,
    ) -> None:
        scale = traced.final_scale[rows].repeat_interleave(writes.shape[1])
        logits = vocabulary_logits(self.model, writes.flatten(0, 1), scale)
        logits = logits.unflatten(0, (len(facts), -1))
        logits[:, -1] += self.constant
        full = traced.logits[rows].to(logits)
        full = full - full.mean(1, keepdim=True)
        for row, fact in enumerate(facts):
            if not bool(full[row].isfinite().all()):
                check_finite(traced, rows.start + row)
            gap = float((logits[row].double().sum(0) - full[row]).abs().max())
            self.rows[fact] = self._said(fact, logits[row], full[row])
            self.rows[fact]["residual"] = checked_sum(
                self.model, gap, float(logits[row].abs().sum(0).max())
            )

    def _said(
        self, fact: int, parts: Float[Tensor, "part vocab"], full: Float[Tensor, " vocab"]
    ) -> dict[str, Any]:
        """What stays of one fact: contributions, ranks, top-1s, alone, added up and left out."""
        answer, subject, relation, _ = self.tokens.ids[fact]
        wanted = [answer[0], _best(full, subject), _best(full, relation)]
        running, left = parts.cumsum(0), full - parts
        found: dict[str, Any] = {
            "contribution": _at(parts, wanted),
            "logits": _at(full[None], wanted)[:, 0],
            "rank": np.stack([_ranks(parts, token) for token in wanted]),
            "running_rank": _ranks(running, answer[0]),
            "left_out_rank": np.stack([_ranks(left, token) for token in wanted]),
            "top_id": parts.argmax(1).cpu().numpy(),
            "attribute_id": np.array([-1 if token is None else token for token in wanted]),
        }
        pool = [answer[0], *subject, *relation, *self.tokens.both[fact]]
        among = parts[:, pool]
        found["rank_among"] = (among >= among[:, :1]).sum(1).cpu().numpy()
        found["in_own_set"] = self._in_own_set(fact, found["top_id"])
        return found

    def _in_own_set(self, fact: int, tops: np.ndarray) -> np.ndarray:
        """Whether each part's top-1 lies in its own set; NaN where it has none."""
        ids, both = self.tokens.ids[fact], self.tokens.both[fact]
        found = np.full(len(tops), np.nan)
        for part, name in enumerate(self.plan.parts):
            if name in _OWN:
                own = {*ids[0], *both, *(token for role in _OWN[name] for token in ids[role])}
                found[part] = int(tops[part]) in own
        return found

    def packed(self, kept: Sequence[int], facts: Sequence[Fact]) -> xr.Dataset:
        """The facts that count, with labelled axes."""
        rows = [self.rows[fact] for fact in kept]
        role, part = ("fact", "fact_role"), ("fact", "part")
        dims = {
            "contribution": (*role, "part"),
            "rank": (*role, "part"),
            "left_out_rank": (*role, "part"),
            "logits": role,
            "running_rank": part,
            "rank_among": part,
            "in_own_set": part,
            "residual": ("fact",),
        }
        data: dict[str, Any] = {
            name: (axes, np.stack([row[name] for row in rows])) for name, axes in dims.items()
        }
        tops = np.stack([row["top_id"] for row in rows])
        ids = np.stack([row["attribute_id"] for row in rows])
        return xr.Dataset(
            data,
            coords={
                **fact_coordinates(facts),
                "fact_role": np.array(["answer", "same_subject", "same_relation"], dtype=object),
                "part": np.array(self.plan.parts, dtype=object),
                "top_token": (part, self._texts(tops)),
                "attribute_token": (role, self._texts(ids)),
            },
        )

    def _texts(self, ids: np.ndarray) -> np.ndarray:
        size, decode = len(self.model.tokenizer), self.model.tokenizer.decode
        known = {int(i): decode([int(i)]) if 0 <= i < size else "" for i in np.unique(ids)}
        return np.array([[known[int(i)] for i in row] for row in ids], dtype=object)


def _best(full: Float[Tensor, " vocab"], ids: Sequence[int]) -> int | None:
    """The strongest of some attributes in the whole model's logits."""
    return ids[int(full[list(ids)].argmax())] if ids else None


def _at(logits: Float[Tensor, "n vocab"], wanted: Sequence[int | None]) -> np.ndarray:
    """Logits of tokens [token, n]; NaN for None."""
    nan = np.full(len(logits), np.nan)
    return np.stack([nan if t is None else logits[:, t].double().cpu().numpy() for t in wanted])


def _ranks(logits: Float[Tensor, "n vocab"], token: int | None) -> np.ndarray:
    """Ranks of a token; of equals it is the last, so that a part that says nothing has no top."""
    if token is None:
        return np.full(len(logits), np.nan)
    return (logits >= logits[:, token, None]).sum(1).double().cpu().numpy()


def _random(
    plan: _Plan, grouped: GroupedParts, kept: Sequence[int], facts: Sequence[Fact], seed: int
) -> Float[np.ndarray, "role part draw"]:
    """Mean contributions of random parts of heads, as large as the real ones, to a, S and R.

    Drawn are whole heads, or readings of single heads where the parts are made of these. NaN for
    what is no part of heads.
    """
    heads = grouped.heads[kept][:, :3]
    units = heads.sum(-1).reshape(*heads.shape[:2], -1) if plan.whole_heads else heads.reshape(
        *heads.shape[:2], -1)  # fmt: skip
    rng = np.random.default_rng(seed)
    found = np.full((3, len(plan.parts), DRAWS), np.nan)
    which = np.array([plan.which[fact] for fact in kept])
    sides = [np.flatnonzero(which == index) for index in range(len(plan.partitions))]
    owners = [(one[..., 0] if plan.whole_heads else one).reshape(-1) for one in plan.partitions]
    relations = [fact.relation for fact in facts]
    for draw in range(DRAWS):
        made = np.full((len(kept), 3, len(plan.names)), np.nan)
        for rows, owner in zip(sides, owners, strict=True):
            shuffled = rng.permutation(owner)
            one_hot = shuffled[:, None] == np.arange(len(plan.names))
            made[rows] = units[rows] @ one_hot
        found[:, 1:-2, draw] = macro_means(made, relations)
    return found
