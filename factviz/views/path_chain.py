"""Maps of paths one beneath the other, backwards from the answer: what feeds a head, and what that.

The way so far stands on top as bars, each a way back; beneath it the map that a sender was chosen
in, and beneath that the maps of what the sender reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from factviz.results.path_patching import PathPatching
from factviz.results.shown import number, shown
from factviz.views import path_patching
from factviz.views.spec import Figure, FigureBuilder, Panel

FEW = 6


@dataclass
class Step:
    """One stop on the way back: a receiver, and the maps of what it reads.

    ``effect`` is what it had as a sender, in percent of π (or logits); ``maps`` are labelled by the
    input they lead to, ``at`` says where each map's senders stand, as ``at=`` of `patch_paths`.
    """

    name: str
    effect: float = 0.0
    maps: list[tuple[str, str | int, PathPatching]] = field(default_factory=list)
    waiting: str = ""


def _way(build: FigureBuilder, steps: Sequence[Step], unit: str) -> Panel:
    return build.bars(
        [f"{'← ' if index else ''}{step.name}" for index, step in enumerate(steps)],
        np.array([step.effect for step in steps]),
        title="The way here, each with its effect: choose one to go back to it",
        unit=unit,
        keys=[{"back": index} for index in range(len(steps))],
    )


def _maps(build: FigureBuilder, step: Step, level: int) -> list[Panel]:
    """The maps of a step as one matrix with a page for each, and their strongest senders."""
    if not step.maps:
        return []
    panels = [path_patching.effect_pages(build, [(n, r) for n, _, r in step.maps], _title(step))]
    for label, at, result in step.maps:
        panels.append(
            path_patching.strongest(
                build,
                result,
                f"{step.name}: what feeds {label}",
                top=FEW if len(step.maps) > 1 else path_patching.TOP,
                level=level,
                at=at,
            )
        )
    return panels


def _title(step: Step) -> str:
    return f"{step.name}: which senders feed it"


def build(steps: Sequence[Step]) -> Figure:
    """The figure of a way back from the answer; the first step has the map of the whole answer."""
    result = steps[0].maps[0][2]
    builder = FigureBuilder(
        " ← ".join(shown(step.name, limit=60) for step in steps),
        f"{result.provenance.get('model')} · π {number(result.base)} logits in the unchanged run",
    )
    panels = [_way(builder, steps, path_patching.unit(result))] if len(steps) > 1 else []
    # The map that the last step was chosen in, and its own beneath.
    for level in range(max(0, len(steps) - 2), len(steps)):
        panels += _maps(builder, steps[level], level)
    if steps[-1].waiting:
        builder.note(steps[-1].waiting)
    builder.note(
        "Choose a sender among the bars to see what feeds it; the way on top leads back.",
        *path_patching.said(steps[-1].maps[-1][2] if steps[-1].maps else result),
    )
    return builder.figure([panels])
