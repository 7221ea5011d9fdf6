"""What results of facts share: a checked dataset, and no fact dimension for a single fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import xarray as xr

from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.results.base import Result

Dims = Mapping[str, tuple[str, ...]]

FACT_COORDS: Dims = {"prompt": ("fact",), "subject": ("fact",), "answer": ("fact",)}
POSITION_COORDS: Dims = {"token": ("fact", "position"), "group": ("fact", "position")}


def check(dataset: xr.Dataset, what: str, variables: Dims, coords: Dims) -> None:
    """Refuse a dataset that is not what a result needs (an opened file may hold anything).

    Parameters
    ----------
    dataset
    what
        The result in words, "a logit lens".
    variables
        Dimensions of the variables that hold numbers, by name.
    coords
        Dimensions of the coordinates, by name.

    Raises
    ------
    FactvizError
        If one is missing, has other dimensions or other values than numbers, or all is empty.
    """
    for sort, expected in (("variable", variables), ("coordinate", coords)):
        for name, dims in expected.items():
            array = dataset.variables.get(name)
            if array is None:
                raise FactvizError(f"this is no {what}: its {sort} {name!r} is missing")
            if array.dims != dims:
                raise FactvizError(
                    f"this is no {what}: {name!r} has dimensions {list(array.dims)},"
                    f" not {list(dims)}"
                )
    if any(dataset[name].dtype.kind not in "fiub" for name in variables):
        raise FactvizError(f"this is no {what}: its arrays hold no real numbers")
    if 0 in dataset.sizes.values():
        raise FactvizError(f"this is no {what}: its arrays are empty")


class FactResult(Result):
    """A result over facts; for one `Fact` its arrays have no fact dimension.

    Parameters
    ----------
    dataset
        With the class's ``variables`` and ``coords``; attribute ``single`` is true when the input
        was one `Fact`.
    provenance
        Model, weight hash, projection, modes, tokens and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks a variable or a coordinate, or its dimensions differ.
    """

    what: ClassVar[str] = "result"
    variables: ClassVar[Dims] = {}
    coords: ClassVar[Dims] = FACT_COORDS

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, self.what, self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def single(self) -> bool:
        """Whether this is the result of one `Fact`, without a fact dimension."""
        return bool(self.dataset.attrs.get("single", False))

    def _squeezed(self, array: Any) -> Any:
        return array.isel(fact=0, drop=True) if self.single else array

    def view(self, *, fact: int | None = None) -> Self:
        """The same result, drawn for one fact alone (0 is the first).

        Raises
        ------
        FactvizError
            If there is no such fact.
        """
        count = self.dataset.sizes["fact"]
        if fact is not None and not (is_whole(fact) and 0 <= fact < count):
            raise FactvizError(f"no fact {fact!r}: there are facts 0 to {count - 1}")
        return self._with_view(**({} if fact is None else {"fact": fact}))

    def _model(self) -> str:
        return str(self.provenance.get("model", "unknown model"))

    def _projection(self) -> str:
        return str(self.provenance.get("projection", "projection not stated"))
