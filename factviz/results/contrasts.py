"""One attribute against others: contributions are linear, so a difference of attributes is exact.

What raises every answer alike cancels in a − mean(R) and in a − foil.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from factviz.facts.errors import FactvizError
from factviz.results.shown import shown

PARTS = ("heads", "mlps", "embedding", "bias", "logits")
ROLES = ("same_subject", "same_relation", "both", "given")


def contrasted(dataset: xr.Dataset, against: str | Iterable[str], of: str | None) -> xr.Dataset:
    """The dataset of an attribution with one attribute left: a difference.

    Parameters
    ----------
    dataset
        Of an attribution.
    against
        A role, a word or several words: their mean is taken off.
    of
        A word; by default each fact's answer.
    """
    words, roles = (np.asarray(dataset[name].values) for name in ("attribute_word", "role"))
    taken = roles == "answer" if of is None else words == of
    _check(taken, dataset, "the answer" if of is None else f"attribute {shown(of, limit=60)!r}")
    wanted = _wanted(against)
    # One text is a role or a word; a list is of words, and each must be there.
    off = np.zeros(words.shape, bool)
    for name in wanted:
        by_role = isinstance(against, str) and name in ROLES
        found = (roles if by_role else words) == name
        _check(found & ~taken, dataset, f"anything of {shown(name, limit=60)!r}")
        off |= found & ~taken
    weights = taken / taken.sum(1, keepdims=True) - off / off.sum(1, keepdims=True)
    return _combined(dataset, weights, _labels(words, taken, off, wanted))


def _wanted(against: str | Iterable[str]) -> list[str]:
    wanted: list[Any] = [against] if isinstance(against, str) else list(against)
    if not wanted or not all(isinstance(name, str) for name in wanted):
        raise FactvizError(
            f"cannot contrast with {wanted!r}: give a role ({', '.join(ROLES)}), a word, or a list "
            "of words among the attributes"
        )
    return wanted


def _check(found: Bool[np.ndarray, "fact attribute"], dataset: xr.Dataset, what: str) -> None:
    lacking = np.flatnonzero(~found.any(1))
    if len(lacking):
        prompt = shown(str(dataset["prompt"].values[lacking[0]]), limit=80)
        raise FactvizError(
            f"the attributes of fact {lacking[0]} ({prompt!r}) do not hold {what}: attribute "
            "these words too, or contrast with others"
        )


def _labels(
    words: np.ndarray,
    taken: Bool[np.ndarray, "fact attribute"],
    off: Bool[np.ndarray, "fact attribute"],
    wanted: list[str],
) -> np.ndarray:
    named = []
    for row, one, others in zip(words, taken, off, strict=True):
        count = int(others.sum())
        kind = f" {wanted[0]}" if len(wanted) == 1 and count > 1 else ""
        rest = str(row[others][0]) if count == 1 else f"mean of {count}{kind}"
        named.append(f"{row[one][0]} − {rest}")
    return np.array(named, dtype=object)[:, None]


def _combined(
    dataset: xr.Dataset, weights: Float[np.ndarray, "fact attribute"], labels: np.ndarray
) -> xr.Dataset:
    # Padded attributes are NaN and weigh nothing; padded sources stay NaN.
    kept = dataset.drop_dims("attribute")
    for name in PARTS:
        array = dataset[name]
        values = np.where(np.isnan(array.values), 0, array.values)
        total = np.einsum("fa,fa...->f...", weights, values.astype(np.float64))[:, None]
        if name == "heads":
            padding = np.asarray(dataset["group"].values) == ""
            total = np.where(padding[:, None, None, None, :], np.nan, total)
        kept[name] = (array.dims, total.astype(array.dtype), array.attrs)
    parts = sum(
        np.nansum(kept[name].values.reshape(*labels.shape, -1), -1, dtype=np.float64)
        for name in PARTS[:-1]
    )
    error = np.abs(parts - kept["logits"].values).max(1).astype(dataset["residual"].dtype)
    kept["residual"] = (("fact",), error, dataset["residual"].attrs)
    table = ("fact", "attribute")
    same = len(set(labels[:, 0])) == 1
    return kept.assign_coords(
        attribute=labels[0] if same else np.arange(1),
        attribute_word=(table, labels),
        attribute_token=(table, labels),
        attribute_id=(table, np.full(labels.shape, -1)),
        attribute_note=(table, np.full(labels.shape, "", dtype=object)),
        role=(table, np.full(labels.shape, "contrast", dtype=object)),
    )
