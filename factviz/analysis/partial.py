"""Long loops: progress where they take long, and what is finished survives an interrupt.

A notebook's interrupt stops a cell, and the analysis' return value with it. So what had run by
then is made into a result all the same, marked ``partial`` in its provenance, and stays in three
places: on the exception (``stop.partial``), in `partial_result`, and in a note that the traceback
shows. The exception goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm.auto import tqdm

from factviz.facts.errors import FactvizError
from factviz.results.base import Result

Item = TypeVar("Item")

_SLOW = 2.0  # seconds before a progress bar appears
_kept: list[Result] = []


def progress(items: Sequence[Item], what: str) -> Any:
    """The items one after the other, behind a progress bar if that takes more than a moment."""
    return tqdm(items, desc=what, delay=_SLOW, leave=False, disable=len(items) < 2)


@contextmanager
def kept_on_interrupt(finished: Callable[[], Result | None]) -> Generator[None]:
    """Keep what is finished when the block is interrupted; the KeyboardInterrupt goes on.

    Parameters
    ----------
    finished
        Makes a result of what is there, or None where that is nothing. Its provenance is marked.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        result = finished()
        if result is not None:
            _keep(result, stop)
        raise


def _keep(result: Result, stop: KeyboardInterrupt) -> None:
    result.provenance["partial"] = True
    result.provenance.setdefault("notes", []).append(
        "partial: the run was interrupted; what had not run yet is missing"
    )
    _kept[:] = [result]
    stop.partial = result  # type: ignore[attr-defined]
    stop.add_note(
        f"factviz kept what was finished of this {result.kind}: fv.partial_result() gives it"
    )


def partial_result() -> Any:
    """What the last interrupted analysis had finished by then.

    Returns
    -------
    Result
        Of the analysis' own kind, with ``provenance["partial"]`` true; rows that had not run are
        missing, or NaN.

    Raises
    ------
    FactvizError
        If no analysis was interrupted, or none of its rows was finished.
    """
    if not _kept:
        raise FactvizError(
            "no partial result: no analysis was interrupted in this session after its first rows"
        )
    return _kept[0]
