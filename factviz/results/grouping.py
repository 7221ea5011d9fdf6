"""Sums over source groups and means over roles of an attribution's arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from factviz.facts.errors import FactvizError

Groups = Mapping[str, Sequence[int]]

DEFAULT_GROUPS = ("bos", "prefix", "subject", "relation", "end")
ROLES = ("answer", "same_subject", "same_relation", "both", "given")


def ordered(found: Iterable[str], known: Sequence[str]) -> list[str]:
    """The names found, known ones first and in their order; the empty name is padding."""
    names = dict.fromkeys(name for name in found if name)
    return [name for name in known if name in names] + [n for n in names if n not in known]


def _names_from_mapping(groups: Groups, length: int, fact: int) -> list[str]:
    """The group name of every position."""
    names = ["other"] * length
    taken: dict[int, str] = {}
    for name, positions in groups.items():
        if not name:
            raise FactvizError(f"a group needs a name: positions {list(positions)} have ''")
        for position in positions:
            if not 0 <= position < length:
                raise FactvizError(
                    f"group {name!r} names position {position}, but the prompt of fact {fact} has"
                    f" positions 0 to {length - 1}"
                )
            if position in taken:
                raise FactvizError(
                    f"position {position} of fact {fact} is in two groups, {taken[position]!r} and"
                    f" {name!r}: groups may not overlap"
                )
            taken[position] = name
            names[position] = name
    return names


def _position_names(
    dataset: xr.Dataset, groups: Groups | Sequence[Groups] | None
) -> list[list[str]]:
    own = [[str(name) for name in row] for row in dataset["group"].values]
    if groups is None:
        return own
    each = [groups] * len(own) if isinstance(groups, Mapping) else list(groups)
    if len(each) != len(own):
        raise FactvizError(f"{len(each)} groupings were given for {len(own)} facts")
    lengths = [sum(1 for name in row if name) for row in own]
    return [
        _names_from_mapping(g, n, i) for i, (g, n) in enumerate(zip(each, lengths, strict=True))
    ]


def _membership(
    rows: list[list[str]], names: list[str], sources: int
) -> Float[np.ndarray, "f s g"]:
    table = np.zeros((len(rows), sources, len(names)))
    for fact, row in enumerate(rows):
        for position, name in enumerate(row):
            if name:
                table[fact, position, names.index(name)] = 1
    return table


def sum_groups(dataset: xr.Dataset, groups: Groups | Sequence[Groups] | None) -> xr.DataArray:
    """Heads [fact, attribute, layer, head, source] summed to [fact, attribute, layer, head, group].

    With the result's own groups, the five default ones are always there (an empty one is 0).
    """
    heads = dataset["heads"]
    rows = _position_names(dataset, groups)
    found = [name for row in rows for name in row]
    if groups is None and set(found) & set(DEFAULT_GROUPS):
        found = [*DEFAULT_GROUPS, *found]
    elif groups is not None:
        each = [groups] if isinstance(groups, Mapping) else groups
        found = [*(name for one in each for name in one), *found]
    names = ordered(found, DEFAULT_GROUPS)
    filled = np.nan_to_num(heads.values, nan=0.0)
    table = _membership(rows, names, heads.sizes["source"]).astype(heads.dtype)
    facts, attributes, layers, count, sources = filled.shape
    summed = filled.reshape(facts, -1, sources) @ table
    summed = summed.reshape(facts, attributes, layers, count, len(names))
    summed[np.asarray(dataset["role"].values) == ""] = np.nan
    kept = {name: c for name, c in heads.coords.items() if "source" not in c.dims}
    return xr.DataArray(
        summed,
        dims=(*heads.dims[:-1], "group"),
        coords={**kept, "group": names},
        name="heads",
        attrs=heads.attrs,
    )


def mean_roles(dataset: xr.Dataset) -> xr.Dataset:
    """heads, mlps, embedding, bias and logits, with the mean over each role for ``attribute``."""
    roles = np.asarray(dataset["role"].values)  # [fact, attribute]
    names = ordered((str(role) for role in roles.ravel()), ROLES)
    weights = np.stack([roles == name for name in names]).astype(
        np.float64
    )  # [role, fact, attribute]
    totals = weights.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = weights / totals  # a role that a fact lacks: 0/0, NaN
    means = {}
    for name in ("heads", "mlps", "embedding", "bias", "logits"):
        array = dataset[name]
        values = np.einsum("rfa,fa...->fr...", weights, np.nan_to_num(array.values, nan=0.0))
        if "source" in array.dims:
            padding = np.asarray(dataset["group"].values) == ""
            values = np.where(padding[:, None, None, None, :], np.nan, values)
        dims = ("fact", "role", *array.dims[2:])
        means[name] = (dims, values.astype(array.dtype), array.attrs)
    kept = {
        name: coord
        for name, coord in dataset.coords.items()
        if "attribute" not in coord.dims and name != "role"
    }
    return xr.Dataset(means, coords={**kept, "role": names}, attrs=dataset.attrs)
