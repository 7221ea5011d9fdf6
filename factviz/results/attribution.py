"""Direct logit attribution: what every head, MLP, embedding and bias wrote towards each attribute.

arXiv 2402.07321: heads at every source token + MLPs + embedding + bias = the centred logit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results import attribution_frame, contrasts, grouping
from factviz.results.factwise import Dims, FactResult
from factviz.results.shown import number, shown

PARTS = ("heads", "mlps", "embedding", "bias")
DIMS: Dims = {
    "heads": ("fact", "attribute", "layer", "head", "source"),
    "mlps": ("fact", "attribute", "layer"),
    "embedding": ("fact", "attribute"),
    "bias": ("fact", "attribute"),
    "logits": ("fact", "attribute"),
    "residual": ("fact",),
}
COORDS: Dims = {
    "attribute_word": ("fact", "attribute"),
    "attribute_token": ("fact", "attribute"),
    "attribute_id": ("fact", "attribute"),
    "attribute_note": ("fact", "attribute"),
    "role": ("fact", "attribute"),
    "token": ("fact", "source"),
    "group": ("fact", "source"),
    "prompt": ("fact",),
    "subject": ("fact",),
    "answer": ("fact",),
}


class Attribution(FactResult):
    """Contributions to the centred logit of each attribute, in logits.

    For several facts every array has a leading ``fact`` dimension, padded with NaN (and ``""`` in
    the coordinates `token`, `group` and `role`). For one `Fact` that dimension is gone.

    Parameters
    ----------
    dataset
        Variables heads [fact, attribute, layer, head, source], mlps [fact, attribute, layer],
        embedding, bias and logits [fact, attribute], residual [fact]; attribute ``single`` is true
        when the input was one `Fact`.
    provenance
        Model, weight hash, projection, layer-norm and value-bias mode, target, tokens, versions.

    Raises
    ------
    FactvizError
        If the dataset lacks a variable or a coordinate, or its dimensions differ.
    """

    kind: ClassVar[str] = "Attribution"
    what: ClassVar[str] = "attribution"
    variables: ClassVar[Dims] = DIMS
    coords: ClassVar[Dims] = COORDS

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        super().__init__(dataset, provenance)
        if any(dataset[name].dtype.kind != "f" for name in DIMS):
            raise FactvizError("this is no attribution: its arrays hold no real numbers")

    @property
    def heads(self) -> xr.DataArray:
        """What each head wrote, by the token it read [attribute, layer, head, source], logits."""
        return self._squeezed(self.dataset["heads"])

    @property
    def mlps(self) -> xr.DataArray:
        """What each MLP wrote at END [attribute, layer], logits."""
        return self._squeezed(self.dataset["mlps"])

    @property
    def embedding(self) -> xr.DataArray:
        """What the embeddings at END contribute [attribute], logits."""
        return self._squeezed(self.dataset["embedding"])

    @property
    def bias(self) -> xr.DataArray:
        """All biases together [attribute], logits."""
        return self._squeezed(self.dataset["bias"])

    @property
    def logits(self) -> xr.DataArray:
        """The model's own logit, minus the vocabulary mean [attribute]."""
        return self._squeezed(self.dataset["logits"])

    @property
    def residual_error(self) -> float:
        """The worst |sum of the parts − centred logit|, in logits."""
        return float(self.dataset["residual"].max())

    def by_group(
        self,
        groups: grouping.Groups | Sequence[grouping.Groups] | None = None,
    ) -> xr.DataArray:
        """Heads summed over source groups.

        Parameters
        ----------
        groups
            Positions by group name, or one such mapping per fact; the result's own groups without
            it. Positions not named go to ``"other"``.

        Returns
        -------
        DataArray
            [attribute, layer, head, group], logits: bos, prefix, subject, relation, end, then
            others; their sum is ``heads.sum("source")``.

        Raises
        ------
        FactvizError
            If a position is named twice or lies outside the prompt.
        """
        return self._squeezed(grouping.sum_groups(self.dataset, groups))

    def by_role(self) -> xr.Dataset:
        """Every part, averaged over the attributes of the same role.

        Returns
        -------
        Dataset
            heads, mlps, embedding, bias and logits with ``role`` in place of ``attribute``: answer,
            same_subject, same_relation, both, given, as far as there are any; logits. NaN for a
            fact without attributes of a role.
        """
        return self._squeezed(grouping.mean_roles(self.dataset))

    def contrast(
        self, against: str | Iterable[str] = "same_relation", *, of: str | None = None
    ) -> Attribution:
        """The answer against other attributes: a − mean R, or a − foil.

        What raises all of them alike (the relation, word frequency) cancels.

        Parameters
        ----------
        against
            A role ("same_relation", "same_subject", …), a word, or a list of words; the mean of
            their contributions is taken off. Each must be among this result's attributes.
        of
            Another word in place of each fact's answer.

        Returns
        -------
        Attribution
            With one attribute of the role ``contrast``; its parts add up to the difference of the
            logits.

        Raises
        ------
        FactvizError
            If a fact has no such attributes.
        """
        data = contrasts.contrasted(self.dataset, against, of)
        target = f"{self.provenance.get('target', 'centred logit')}, as a contrast"
        return Attribution(data, {**self.provenance, "target": target})

    def to_frame(self) -> pd.DataFrame:
        """One row for each part and attribute, and for heads each source token.

        Returns
        -------
        DataFrame
            fact, component ("head", "mlp", "embedding", "bias"), layer, head, source, token,
            attribute, role, contribution (logits), group, attribute_token, attribute_id. The rows
            of one fact and attribute add up to its centred logit.
        """
        return attribution_frame.tidy(self.dataset)

    def view(
        self,
        *,
        fact: int | None = None,
        attribute: str | int | None = None,
        order: Literal["contribution", "layer"] | None = None,
        top: int | None = None,
        limit: float | None = None,
    ) -> Attribution:
        """The same result, drawn differently: shown, saved and plotted with these choices.

        Parameters
        ----------
        fact
            Show this fact alone (0 is the first).
        attribute
            Show this attribute alone, by word or by number.
        order
            Heads by ``"contribution"`` (the default) or by ``"layer"``.
        top
            Heads shown at first; 0 shows all (default 20).
        limit
            The contribution, in logits, drawn at full colour: give several figures the same.

        Raises
        ------
        FactvizError
            If a value names nothing that is there.
        """
        chosen = {"fact": fact, "attribute": attribute, "order": order, "top": top, "limit": limit}
        given = {name: value for name, value in chosen.items() if value is not None}
        _check_view(self.dataset, given)
        return self._with_view(**given)

    def _summary(self) -> list[str]:
        answers = self.dataset[[*PARTS, "logits"]].isel(attribute=0).mean("fact")
        head_totals = answers["heads"].sum("source")
        return [
            self._title(),
            f"centred logit {number(float(answers['logits']), sign=True)}"
            f" = heads {number(float(head_totals.sum()), sign=True)}"
            f", MLPs {number(float(answers['mlps'].sum()), sign=True)}"
            f", embedding {number(float(answers['embedding']), sign=True)}"
            f", bias {number(float(answers['bias']), sign=True)}",
            "top heads: " + ", ".join(_top_heads(head_totals, 5)),
            f"{self.provenance.get('projection', 'projection not stated')};"
            f" worst residual error {self.residual_error:.1g} logits",
        ]

    def _title(self) -> str:
        data, model = self.dataset, str(self.provenance.get("model", "unknown model"))
        count = data.sizes["fact"]
        if count > 1:
            return f"Attribution of {count} facts, {self._mean_of()}, on {model}"
        first = data.isel(fact=0, attribute=0)
        word = shown(str(first["attribute_word"].item()), limit=60)
        prompt = shown(str(first["prompt"].item()), limit=200)
        return f"Attribution of {word!r} after {prompt!r} on {model}"

    def _mean_of(self) -> str:
        """What the numbers of several facts are the mean of: the first attribute of each."""
        first = self.dataset.isel(attribute=0)
        words, roles = ({str(v) for v in first[n].values} for n in ("attribute_word", "role"))
        if len(words) == 1:
            return f"mean of {shown(words.pop(), limit=60)!r}"
        return f"mean over their {'answers' if roles == {'answer'} else 'first attributes'}"


def _check_types(given: Mapping[str, Any]) -> None:
    kinds = {
        "fact": (Integral, "a whole number"),
        "attribute": ((Integral, str), "a word or a whole number"),
        "top": (Integral, "a whole number"),
        "limit": (Real, "a number"),
    }
    for name, (kind, wanted) in kinds.items():
        value = given.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise FactvizError(f"{name}={shown(repr(value), limit=60)} must be {wanted}")


def _check_view(dataset: xr.Dataset, given: Mapping[str, Any]) -> None:
    _check_types(given)
    count, attributes = dataset.sizes["fact"], dataset.sizes["attribute"]
    if not 0 <= given.get("fact", 0) < count:
        raise FactvizError(f"no fact {given['fact']}: there are facts 0 to {count - 1}")
    if given.get("order", "layer") not in ("contribution", "layer"):
        raise FactvizError(
            f"unknown order {shown(repr(given['order']), limit=60)}: 'contribution' or 'layer'"
        )
    if given.get("top", 1) < 0:
        raise FactvizError(f"top={given['top']} heads cannot be shown: 1 or more, or 0 for all")
    if not 0 < given.get("limit", 1.0) < float("inf"):
        raise FactvizError(
            f"limit={given['limit']} is no colour scale: it must be above 0 logits, and finite"
        )
    wanted = given.get("attribute", 0)
    if isinstance(wanted, str):
        if wanted not in dataset["attribute_word"].values:
            raise FactvizError(f"no attribute {shown(wanted, limit=60)!r} in this result")
    elif not 0 <= wanted < attributes:
        raise FactvizError(f"no attribute {wanted}: there are attributes 0 to {attributes - 1}")


def _top_heads(totals: xr.DataArray, count: int) -> list[str]:
    values = np.nan_to_num(totals.values)
    best = np.argsort(-np.abs(values), axis=None, kind="stable")[:count]
    return [
        f"L{layer}H{head} {number(float(values[layer, head]), sign=True)}"
        for layer, head in (divmod(int(flat), values.shape[1]) for flat in best)
    ]
