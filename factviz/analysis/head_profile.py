"""One head: what it lifts, read from the subject and read from the relation (arXiv 2402.07321)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from factviz.analysis.grouped import GROUPS, answer_ranks, grouped_parts
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.known import TOP, known_rows, unknown_note
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance, texts
from factviz.analysis.roles import ROLES, RoleTokens, role_tokens
from factviz.analysis.top_tokens import top_tokens
from factviz.analysis.writes import head_writes, vocabulary_logits
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.attention import check_head
from factviz.models.factmodel import FactModel
from factviz.models.traced import Trace
from factviz.results.head_profile import HeadProfile


@torch.inference_mode()
def profile_head(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    layer: int,
    head: int,
    *,
    k: int = 10,
    seed: int = 0,
) -> HeadProfile:
    """What one head adds to a, each of S, R and O, from subject and from relation tokens.

    Subject heads lift a and S, relation heads a and R, mixed heads both.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Those whose answer is not in the model's top 10 are left out, and counted.
    layer, head : int
    k : int
        Promoted and suppressed tokens, of each source group.
    seed : int
        Of O.

    Returns
    -------
    HeadProfile

    Raises
    ------
    FactvizError
        If there is no such head, k is below 1, or the model knows none of the facts.

    See Also
    --------
    explore_heads : choose heads in the plane of their classes, and see their profiles.
    show_attention : all of a head's attention on one fact.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    check_head(model, layer, head)
    if k < 1:
        raise FactvizError(f"k={k} tokens cannot be shown: ask for 1 or more")
    found = as_facts(facts)
    tokens = role_tokens(model, found, seed=seed)
    owners = np.full((model.n_layers, model.n_heads, len(GROUPS)), -1)
    owners[layer, head] = np.arange(len(GROUPS))
    seen = _Seen(model, tokens, owners)
    parts = grouped_parts(model, found, tokens, look=seen.look)
    kept = known_rows(found, parts.rank)
    its = tokens.take(kept)
    dataset = _packed(model, [found[i] for i in kept], its, [seen.values[i] for i in kept])
    dataset["attention"] = (
        ("fact", "group"),
        parts.attention[kept][:, layer, head],
        {"units": "fraction"},
    )
    dataset = dataset.merge(top_tokens(model, np.asarray(seen.total) / len(kept), k, dim="group"))
    dataset.attrs = {"single": isinstance(facts, Fact), "layer": int(layer), "head": int(head)}
    origin = provenance(
        model,
        its.prompts,
        kind=HeadProfile.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="centred logits at END" + before_cap(model),
        notes=[*unknown_note(found, kept), *its.notes],
        value_bias="out",
        head=f"L{layer}H{head}",
        excluded=len(found) - len(kept),
    )
    return HeadProfile(dataset, origin)


class _Seen:
    """The head's logits by group in every fact: of its attributes, and of all tokens."""

    def __init__(self, model: FactModel, tokens: RoleTokens, owners: np.ndarray) -> None:
        self.model, self.tokens, self.owners = model, tokens, owners
        self.values: dict[int, np.ndarray] = {}  # [group, attribute]
        self.total: np.ndarray | float = 0.0  # [group, vocab], of facts that the model knows

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """Read one batch, fact by fact: all tokens' logits of many facts would be large."""
        writes = head_writes(traced, self.owners, len(GROUPS))
        for row, fact in enumerate(batch):
            scale = traced.final_scale[row].expand(len(GROUPS))
            logits = vocabulary_logits(self.model, writes[row], scale).cpu().numpy()
            ids = [token for role in self.tokens.ids[fact] for token in role]
            self.values[fact] = logits[:, ids]
            if answer_ranks(traced.logits[row : row + 1], [ids[0]])[0] <= TOP:
                self.total = self.total + logits


def _packed(
    model: FactModel, facts: Sequence[Fact], tokens: RoleTokens, values: Sequence[np.ndarray]
) -> xr.Dataset:
    """Attributes side by side [fact, attribute], padded."""
    roles = [
        [role for role, of_role in zip(ROLES, row, strict=True) for _ in of_role]
        for row in tokens.ids
    ]
    ids = [[token for of_role in row for token in of_role] for row in tokens.ids]
    decode = model.tokenizer.decode
    words = [
        [tokens.words[fact].get(token) or decode([token]).strip() for token in row]
        for fact, row in enumerate(ids)
    ]
    width = max(map(len, ids))
    table = np.full((len(facts), len(GROUPS), width), np.nan, np.float32)
    for row, one in zip(table, values, strict=True):
        row[:, : one.shape[1]] = one
    named = ("fact", "attribute")
    coords: dict[str, Any] = fact_coordinates(facts) | {
        "group": np.array(GROUPS, dtype=object),
        "attribute_word": (named, texts(words, width)),
        "role": (named, texts(roles, width)),
    }
    data = {"contribution": (("fact", "group", "attribute"), table, {"units": "logits"})}
    return xr.Dataset(data, coords=coords)
