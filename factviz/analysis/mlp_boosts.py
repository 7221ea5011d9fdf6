"""MLPs lift many attributes of a relation about evenly (arXiv 2402.07321)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.directions import attribute_directions
from factviz.analysis.grouped import GroupedParts, chunks, grouped_parts
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.known import TOP, known_rows, unknown_note
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.roles import ROLES, RoleTokens, role_directions, role_tokens
from factviz.analysis.writes import vocabulary_logits
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_weight
from factviz.models.states import mlp_norm, output_map, record_states
from factviz.models.traced import Trace
from factviz.results.mlp_boosts import MLPBoosts
from factviz.results.resampling import macro_means


@torch.inference_mode()
def mlp_boosts(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    neurons: bool = False,
    k: int = 10,
    seed: int = 0,
) -> MLPBoosts:
    """What the MLPs' outputs at END add to a, S, R and O, by layer, and how evenly over R.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Those whose answer is not in the model's top 10 are left out, and counted.
    neurons : bool
        Split every MLP over its neurons too (activation × output row: exact, but for the bias).
    k : int
        Tokens lifted most, over the whole vocabulary.
    seed : int
        Of O.

    Returns
    -------
    MLPBoosts

    Raises
    ------
    FactvizError
        If the model knows none of the facts, k is below 1, or neurons cannot be told apart.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    if k < 1:
        raise FactvizError(f"k={k} tokens cannot be shown: ask for 1 or more")
    found = as_facts(facts)
    tokens = role_tokens(model, found, seed=seed)
    seen = _Seen(model, tokens)
    parts = grouped_parts(model, found, tokens, look=seen.look)
    kept = known_rows(found, parts.rank)
    chosen, its = [found[row] for row in kept], tokens.take(kept)
    dataset = _packed(model, chosen, parts.take(kept), [seen.rows[i] for i in kept])
    mean = seen.mean()
    best = np.argsort(-mean, kind="stable")[:k]
    decode, size = model.tokenizer.decode, len(model.tokenizer)
    words = [decode([int(i)]) if i < size else "" for i in best]
    dataset = dataset.assign(lifted=("rank_of_token", mean[best], {"units": "logits"}))
    dataset = dataset.assign_coords(lifted_token=("rank_of_token", np.array(words, dtype=object)))
    if neurons:
        dataset["neurons"] = (("role", "layer", "neuron"), _neurons(model, chosen, its))
    dataset.attrs = {"single": isinstance(facts, Fact)}
    origin = provenance(
        model,
        its.prompts,
        kind=MLPBoosts.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="centred logits at END" + before_cap(model),
        notes=[*unknown_note(found, kept), *its.notes, *_without(its)],
        excluded=len(found) - len(kept),
    )
    return MLPBoosts(dataset, origin)


def _without(tokens: RoleTokens) -> list[str]:
    without = sum(not row[2] for row in tokens.ids)
    return [f"{without} facts have no R: they say nothing on evenness"] if without else []


class _Seen:
    """The spread over R in every fact, and what MLPs lift over the whole vocabulary."""

    def __init__(self, model: FactModel, tokens: RoleTokens) -> None:
        self.model, self.tokens = model, tokens
        self.rows: dict[int, dict[str, np.ndarray | float]] = {}
        self._write: Tensor | float = 0.0
        self._count = 0

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """Read one batch, fact by fact."""
        for row, fact in enumerate(batch):
            answer, relation = self.tokens.ids[fact][0][0], self.tokens.ids[fact][2]
            ids = torch.tensor([answer, *relation], device=self.model.device)
            directions = attribute_directions(self.model, ids).residual / traced.final_scale[row]
            lifted = directions @ traced.mlps[row].to(directions).T  # [attribute, layer]
            self.rows[fact] = _evenness(lifted.double().cpu().numpy())
            rank = (traced.logits[row] > traced.logits[row, answer]).sum() + 1
            if rank <= TOP:
                # The frozen norm is linear, so the mean over facts is taken before unembedding.
                self._write = (
                    self._write + traced.mlps[row].to(directions).sum(0) / (traced.final_scale[row])
                )
                self._count += 1

    def mean(self) -> Float[np.ndarray, " vocab"]:
        """The mean logits that all MLPs add to every token, over the facts that the model knows."""
        assert isinstance(self._write, Tensor)
        one = torch.ones(1, dtype=self._write.dtype, device=self._write.device)
        mean = vocabulary_logits(self.model, self._write[None] / self._count, one)
        return mean[0].cpu().numpy()


def _evenness(lifted: Float[np.ndarray, "attribute layer"]) -> dict[str, np.ndarray | float]:
    """How evenly R is lifted; the answer is the first attribute. NaN without R."""
    answer, rest = lifted[0], lifted[1:]
    if not len(rest):
        nothing = np.full(lifted.shape[1], np.nan)
        return {"spread": nothing, "share_below": nothing, "total_spread": np.nan,
                "total_share_below": np.nan, "rank": np.nan}  # fmt: skip
    total = lifted.sum(1)
    return {
        "spread": rest.std(0),
        "share_below": (rest < answer).mean(0),
        "total_spread": float(total[1:].std()),
        "total_share_below": float((total[1:] < total[0]).mean()),
        "rank": float((total[1:] > total[0]).sum() + 1),
    }


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    parts: GroupedParts,
    rows: Sequence[dict[str, np.ndarray | float]],
) -> xr.Dataset:
    dims = {
        "spread": ("fact", "layer"),
        "share_below": ("fact", "layer"),
        "total_spread": ("fact",),
        "total_share_below": ("fact",),
        "rank": ("fact",),
    }
    data: dict[str, Any] = {
        name: (axes, np.array([row[name] for row in rows])) for name, axes in dims.items()
    }
    data["contribution"] = (("fact", "role", "layer"), parts.mlps, {"units": "logits"})
    coords = fact_coordinates(facts) | {
        "role": np.array(ROLES, dtype=object),
        "layer": np.arange(model.n_layers),
    }
    return xr.Dataset(data, coords=coords)


def _neurons(
    model: FactModel, facts: Sequence[Fact], tokens: RoleTokens
) -> Float[np.ndarray, "role layer neuron"]:
    """Every neuron's mean contribution to each role, a batch of facts at a time."""
    relations = np.array([fact.relation for fact in facts])
    names, sums, counts = np.unique(relations), {}, {}
    for batch in chunks(model, facts, tokens.prompts):
        values = _neurons_of(model, tokens.take(batch))
        for name in names:
            own = values[relations[batch] == name]
            known = ~np.isnan(own)
            sums[name] = sums.get(name, 0) + np.where(known, own, 0).sum(0)
            counts[name] = counts.get(name, 0) + known.sum(0)
    means = [
        np.divide(sums[n], counts[n], out=np.full(sums[n].shape, np.nan), where=counts[n] > 0)
        for n in names
    ]
    return macro_means(np.stack(means), names.tolist()).astype(np.float32)


def _neurons_of(
    model: FactModel, tokens: RoleTokens
) -> Float[np.ndarray, "fact role layer neuron"]:
    rows = [row.ids for row in tokens.prompts]
    states = record_states(model, rows, [(len(row) - 1,) for row in rows], neurons=True)
    assert states.neurons is not None and states.mlp_scale is not None
    final = model.geometry.norm(model.geometry.final_norm)
    directions = role_directions(model, tokens).residual.unflatten(0, (len(rows), -1))
    before = states.residual[:, -1, 0].to(directions)
    normed: Any = model.geometry.final_norm
    scale = final.scale(before, normed(before[None])[0])
    found: list[np.ndarray] = []
    for layer in range(model.n_layers):
        norm = mlp_norm(model.geometry.layers[layer])
        seen = directions / scale[:, None, None]
        if norm is not None:
            seen = model.geometry.norm(norm).pull_back(seen)
            seen = seen / states.mlp_scale[:, layer, 0, None, None].to(seen)
        seen = seen * model.geometry.residual_multiplier
        projected = seen @ linear_weight(output_map(model, layer)).to(seen)
        found.append((projected * states.neurons[:, layer, 0, None].to(seen)).cpu().numpy())
    return np.stack(found, 2)
