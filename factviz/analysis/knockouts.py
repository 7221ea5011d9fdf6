"""What knockouts share: a fact is one batched run of variants, and an interrupt keeps its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from factviz.analysis.outcomes import Prompts, Target, answer_id, target_texts
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Variant
from factviz.models.runs import Runs
from factviz.results.base import Result

Made = TypeVar("Made", bound=Result)
Place = tuple[str, tuple[int, ...]]
"""Where a variant's number belongs: a table's name, and the indices in a fact's part of it."""

_LOW = 1e-3


@dataclass
class Plan:
    """The variants of one fact, and where their numbers belong."""

    variants: list[Variant]
    places: list[Place]

    def add(self, name: str, at: tuple[int, ...], variant: Variant) -> None:
        """One more variant."""
        self.variants.append(variant)
        self.places.append((name, at))


@dataclass(frozen=True)
class Reading:
    """The numbers of one fact: of the clean run, and [variant]; NaN where one has not run."""

    token: int
    top: int
    base: float
    values: Float[np.ndarray, " variant"]
    places: Sequence[Place]


class Row:
    """One fact's runs; when they are complete, only their numbers stay."""

    def __init__(self, runs: Runs, read: Callable[[Runs], Reading]) -> None:
        self._runs: Runs | None = runs
        self._read = read
        self._reading: Reading | None = None

    def finish(self) -> None:
        """Run what has not run."""
        if self._runs is not None:
            self._reading = self._read(self._runs.complete())
            self._runs = None

    @property
    def begun(self) -> bool:
        """Whether any variant has run."""
        return self._runs is None or self._runs.done > 0

    def reading(self) -> Reading:
        """The numbers, as far as there are any."""
        if self._reading is not None:
            return self._reading
        assert self._runs is not None
        return self._read(self._runs)


def sweep(
    prompts: Prompts,
    start: Callable[[int], Row],
    pack: Callable[[list[Reading]], Made],
    what: str,
) -> Made:
    """Run fact after fact; interrupted, the result of what is finished goes with the exception.

    Parameters
    ----------
    prompts : Prompts
    start
        From the number of a fact to its row, not yet complete.
    pack
        From the readings of the first facts to the result.
    what : str
        The name of the progress bar.

    Raises
    ------
    FactvizError
        Of any fact, with its number and prompt.
    """
    rows: list[Row] = []

    def finished() -> Made | None:
        there = [row.reading() for row in rows if row.begun]
        return pack(there) if there else None

    with kept_on_interrupt(finished):
        for fact in progress(range(len(prompts.facts)), what):
            try:
                rows.append(start(fact))
                rows[-1].finish()
            except FactvizError as error:
                raise _located(error, prompts, fact) from None
    return pack([row.reading() for row in rows])


def _located(error: FactvizError, prompts: Prompts, fact: int) -> FactvizError:
    prompt = prompts.facts[fact].prompt[:80]
    where = "" if prompts.single else f"fact {fact} ({prompt!r}): "
    return FactvizError(f"{where}{error}")


def tables(
    shapes: dict[str, tuple[int, ...]], readings: Sequence[Reading]
) -> dict[str, Float[np.ndarray, "fact ..."]]:
    """Each variant's number at its place, in tables [fact, ...] of these shapes; else NaN."""
    found = {name: np.full((len(readings), *shape), np.nan) for name, shape in shapes.items()}
    for fact, reading in enumerate(readings):
        for (name, at), value in zip(reading.places, reading.values, strict=True):
            found[name][(fact, *at)] = value
    return found


def mean_of_draws(table: Float[np.ndarray, "... draw layer"]) -> Float[np.ndarray, "... layer"]:
    """The mean over control draws; NaN where there is none."""
    known = ~np.isnan(table)
    total, count = np.where(known, table, 0).sum(-2), known.sum(-2)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def target_coordinates(model: FactModel, readings: Sequence[Reading]) -> dict[str, Any]:
    """The token that was followed for each fact: its id and text."""
    ids = [reading.token for reading in readings]
    return {
        "target_id": ("fact", np.array(ids)),
        "target_token": ("fact", target_texts(model, ids)),
    }


def target_notes(prompts: Prompts, readings: Sequence[Reading], target: Target) -> list[str]:
    """What a reader should know: the top-1 is another token than the answer, a base is tiny."""
    notes: list[str] = []
    other = [i for i, r in enumerate(readings) if _answer(prompts, i) != r.top]
    if other and target in ("top1", "answer"):
        follow = "the top-1, target='answer' would follow the answer"
        kept = "the answer all the same" if target == "answer" else follow
        notes.append(
            f"in {len(other)} of {len(readings)} facts the model's top-1 is not the answer "
            f"({prompts.facts[other[0]].answer!r}, for one): the numbers follow {kept}"
        )
    low = sum(r.base < _LOW for r in readings)
    if low:
        notes.append(f"in {low} facts the clean value is below {_LOW}: a percentage says little")
    return notes


def _answer(prompts: Prompts, fact: int) -> int | None:
    """The answer's token; None where the answer is not one that this tokenizer can follow."""
    try:
        return answer_id(prompts.model, prompts.facts[fact])
    except FactvizError:
        return None


def target_words(target: Target) -> str:
    """What is measured, in words."""
    name = {"answer": "the answer", "top1": "the clean run's top-1 token"}.get(
        str(target), f"token {target}"
    )
    return f"probability of {name} at END"
