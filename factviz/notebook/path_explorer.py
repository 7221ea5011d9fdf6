"""Backward chaining, live: choose a sender in a map of paths, and see what feeds it beneath.

It is the figure that every result widget paints: the bars of senders can be chosen, and so can the
way back on top of them. Nothing of it is JavaScript of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import traitlets

from factviz.analysis.path_patching import patch_paths
from factviz.analysis.receivers import NoSendersError
from factviz.facts.checks import is_whole
from factviz.facts.counterfactuals import counterfactuals as made_from
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel, check_model
from factviz.notebook.widget import ResultWidget
from factviz.notebook.worker import worker_of
from factviz.results.path_patching import PathPatching
from factviz.results.shown import shown
from factviz.views import path_chain
from factviz.views.path_chain import Step


class PathExplorer(ResultWidget):
    """Maps of paths one beneath the other, from the answer backwards.

    Attributes
    ----------
    selection
        What is chosen; a sender leads a step back, a stop of the way returns to it. It is cleared
        once it has been followed. From Python, ``{"key": {"level": 0, "at": "end", "component":
        "head", "layer": 4, "head": 1}}``.
    path
        The names of the stops, from the answer on. Not synchronised; observe it to follow.
    results
        The maps of the last stop by the input they lead to, as `PathPatching` results to save.
    """

    path = traitlets.List(traitlets.Unicode())
    results = traitlets.Dict()

    def __init__(
        self, model: FactModel, facts: list[Fact], others: list[Fact], first: PathPatching
    ) -> None:
        self._model, self._facts, self._others = model, facts, others
        self._worker = worker_of(model)
        self._followed: dict[str, Any] = {}
        self._steps = [Step("answer at END", maps=[("the final residual", "end", first)])]
        figure = path_chain.build(self._steps)
        super().__init__(figure.transport(), figure.buffer, summary="Paths to the answer")
        self._follow()
        self.observe(self._chosen, "selection")

    def back(self) -> None:
        """Return to the stop before; at the first one nothing happens."""
        self.selection = {"key": {"back": max(0, len(self.path) - 2)}}

    def _chosen(self, change: Mapping[str, Any]) -> None:
        selection = change["new"]
        # A row of a matrix is no sender: choosing it shows its numbers, and that is all.
        if selection and selection.get("key") is not None and selection != self._followed:
            self._worker.ask(self, lambda: self._answer(selection))

    def _answer(self, selection: Mapping[str, Any]) -> None:
        """Go where a selection leads; in the worker's thread."""
        before, problem = self._steps, ""
        try:
            self._go(selection)
        except FactvizError as error:
            problem = str(error)
        except (
            Exception
        ) as error:  # shown, whatever it is: a callback's traceback is seen by nobody
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self._steps = before
        if not self._worker.asked_again(self):
            self._publish(problem)

    def _go(self, selection: Mapping[str, Any]) -> None:
        key = selection.get("key")
        if not isinstance(key, Mapping) or not (
            "back" in key or ("level" in key and key.get("component") in ("head", "mlp"))
        ):
            raise FactvizError(
                f"the selection {dict(selection)!r} names no sender: choose one among the bars"
            )
        level = key.get("back", key.get("level"))
        if not is_whole(level) or not 0 <= level < len(self._steps):
            raise FactvizError(f"there is no stop {level!r}: the way has {len(self._steps)}")
        kept = self._steps[: level + 1]
        if "back" in key:
            self._steps = kept
            return
        step, wanted = self._stop(kept[-1], key)
        self._steps = [*kept, step]
        self._run(step, wanted)

    def _stop(
        self, before: Step, key: Mapping[str, Any]
    ) -> tuple[Step, list[tuple[str, str | int, Any]]]:
        """The next stop, and the maps to draw: label, position, receiver."""
        at, layer, head = key.get("at", "end"), key.get("layer"), key.get("head")
        where = "END" if at == "end" else str(at)
        if key["component"] == "mlp":
            step = Step(f"MLP {layer} at {where}")
            wanted: list[tuple[str, str | int, Any]] = [("its input", at, ("mlp", layer))]
        else:
            step = Step(f"L{layer}H{head} at {where}")
            # Where a head at END mostly reads is the topic; its own position gives keys too.
            places = dict.fromkeys(["topic", at])
            wanted = [(f"q at {where}", at, ("q", layer, head))]
            for place in places:
                name = "END" if place == "end" else str(place)
                for letter in ("v", "k"):
                    wanted.append((f"{letter} at {name}", place, (letter, layer, head)))
        step.effect = _effect(before, at, key)
        return step, wanted

    def _run(self, step: Step, wanted: list[tuple[str, str | int, Any]]) -> None:
        """Map after map, each shown as soon as it is there."""
        for label, at, receiver in wanted:
            step.waiting = f"{step.name}: what feeds {label} is being worked out …"
            self._publish(clear=False)
            try:
                found = patch_paths(
                    self._model, self._facts, self._others, at=at, receiver=receiver
                )
            except NoSendersError:
                step.waiting = f"{step.name} reads the embedding: nothing feeds it."
                return
            step.maps.append((label, at, found))
            if self._worker.asked_again(self):
                break
        step.waiting = ""

    def _publish(self, problem: str = "", *, clear: bool = True) -> None:
        figure = path_chain.build(self._steps)
        with self.hold_sync():
            self.figure, self.buffer = figure.transport(), figure.buffer
            self.error = shown(problem, limit=1000)
            if self.selection and not self._worker.asked_again(self):
                # Its panel is another one now.
                self._followed = {} if clear else {"key": self.selection.get("key")}
                self.selection = self._followed or None
        self._follow()

    def _follow(self) -> None:
        self.results = {label: found for label, _, found in self._steps[-1].maps}
        self.path = [step.name for step in self._steps]


def _effect(step: Step, at: str | int, key: Mapping[str, Any]) -> float:
    """What a sender had in the map it was chosen in: the largest, where several maps have it."""
    found: list[float] = []
    for _, place, result in step.maps:
        if place != at:
            continue
        frame = result.to_frame()
        here = (frame["component"] == key["component"]) & (frame["layer"] == key.get("layer"))
        if key["component"] == "head":
            here &= frame["head"] == key.get("head")
        measure = "change" if result.base > 0 else "delta"
        found += [float(value) for value in frame[here][measure]]
    return max(found, key=abs, default=0.0)


def explore_paths(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    counterfactuals: Fact | Iterable[Fact] | str = "other topic",
) -> PathExplorer:
    """Follow an answer backwards, from sender to sender: a live view.

    It begins with the map of all senders to the final residual. Choosing one among the bars draws
    beneath what feeds it: a head's query at its own position, its keys and values at the topic and
    at its own position; an MLP's input. The way stands on top, and each stop of it leads back.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        A step takes seconds for a few dozen facts of a small model, and longer for more.
    counterfactuals : Fact, iterable of Fact, FactSet or str
        As for `patch_paths`.

    Returns
    -------
    PathExplorer
        Shows itself as the last line of a cell. Its ``selection`` is a trait, its ``path`` the way
        so far, its ``results`` the maps of the last stop; ``back()`` returns by one.

    Raises
    ------
    FactvizError
        As `patch_paths` does for the first map. What goes wrong later is shown in the view.

    See Also
    --------
    patch_paths : one map, as a result to save.
    """
    check_model(model)
    found = as_facts(facts)
    if isinstance(counterfactuals, str):
        counterfactuals = made_from(found, counterfactuals)
    others = as_facts(counterfactuals)
    return PathExplorer(model, found, others, patch_paths(model, found, others))
