"""Heads on the plane of their classes, live: choosing one shows its profile under it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import traitlets

from factviz.analysis.class_effects import check_classes
from factviz.analysis.head_classes import classify_heads
from factviz.analysis.head_profile import profile_head
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel, check_model
from factviz.notebook.scripts import script
from factviz.notebook.widget import ResultWidget
from factviz.notebook.worker import worker_of
from factviz.results.head_classes import HeadClasses
from factviz.results.head_profile import HeadProfile
from factviz.results.shown import shown
from factviz.views import bundle, head_classes, head_profile
from factviz.views.spec import Figure, FigureBuilder


class HeadExplorer(ResultWidget):
    """The plane of head classes, and under it the profile of the head that is chosen.

    Attributes
    ----------
    selection
        As of any figure; ``{"key": {"layer": 3, "head": 4}}`` is enough to choose from Python.
    profile, profile_buffer
        The lower figure, as `figure` and `buffer` are the upper one.
    result
        The `HeadProfile` that is shown, or None. Not synchronised; observe it to follow.
    """

    profile = traitlets.Dict().tag(sync=True)
    profile_buffer = traitlets.Bytes().tag(sync=True)
    result = traitlets.Instance(HeadProfile, allow_none=True, default_value=None)

    def __init__(self, model: FactModel, facts: list[Fact], classes: HeadClasses) -> None:
        plane = head_classes.build_plane(classes)
        self._model, self._facts, self._worker = model, facts, worker_of(model)
        title = shown(str(plane.spec["title"]), limit=200)
        super().__init__(plane.transport(), plane.buffer, summary=title)
        self._publish(_said("Choose a head in the plane", "Its profile is shown here."))
        self.observe(self._chosen, "selection")

    @traitlets.default("_esm")
    def _painters(self) -> str:
        return script("head_explorer.js").replace(
            '"__FACTVIZ_PAINTERS__"', json.dumps(bundle.source())
        )

    def _chosen(self, change: Mapping[str, Any]) -> None:
        selection = change["new"]
        self._worker.ask(self, lambda: self._answer(selection))

    def _answer(self, selection: Mapping[str, Any] | None) -> None:
        """Show what belongs to a selection; in the worker's thread."""
        found, problem = None, ""
        try:
            found = self._profiled(selection)
        except FactvizError as error:
            problem = str(error)
        except (
            Exception
        ) as error:  # shown, whatever it is: a callback's traceback is seen by nobody
            problem = f"{type(error).__name__}: {error}"
        if self._worker.asked_again(self):
            return
        if found is not None:
            figure = head_profile.build(found)
        elif problem:
            figure = _said("No profile", "What went wrong is said above the plane.")
        else:
            figure = _said("Choose a head in the plane", "Its profile is shown here.")
        self._publish(figure, found, problem)

    def _profiled(self, selection: Mapping[str, Any] | None) -> HeadProfile | None:
        if not selection:
            return None
        layer, head = _head(selection)
        self._publish(_said(f"L{layer}H{head}", "Its profile is being worked out …"))
        return profile_head(self._model, self._facts, layer, head)

    def _publish(self, figure: Figure, found: HeadProfile | None = None, problem: str = "") -> None:
        with self.hold_sync():
            self.profile, self.profile_buffer = figure.transport(), figure.buffer
            self.error = shown(problem, limit=1000)
        self.result = found


def _head(selection: Mapping[str, Any]) -> tuple[Any, Any]:
    key = selection.get("key")
    if not isinstance(key, Mapping) or not {"layer", "head"} <= set(key):
        raise FactvizError(
            f"the selection {dict(selection)!r} names no head: "
            "{'key': {'layer': 3, 'head': 4}} names one"
        )
    return key["layer"], key["head"]


def _said(title: str, subtitle: str) -> Figure:
    """A figure of words alone."""
    return FigureBuilder(title, subtitle).figure([[]])


def explore_heads(
    model: FactModel, facts: Fact | Iterable[Fact], classes: HeadClasses | None = None
) -> HeadExplorer:
    """Choose heads in the plane of their classes, and see the profile of each: a live view.

    Clicking a head, or Enter on it, runs `profile_head` beside the notebook; a newer choice
    replaces one that still waits. The threshold moves as in the figure of `classify_heads`.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        What heads are profiled on.
    classes : HeadClasses, optional
        Where heads stand; without it they are classified on ``facts``.

    Returns
    -------
    HeadExplorer
        Shows itself as the last line of a cell. Its ``selection`` is a trait, its ``result`` the
        `HeadProfile` that is shown.

    Raises
    ------
    FactvizError
        If the classes are of another model, or as `classify_heads` does. What goes wrong with a
        chosen head is shown in the view.

    See Also
    --------
    profile_head : the profile of one head, as a result to save.
    show_attention : all of a head's attention on one fact.
    """
    check_model(model)
    found = as_facts(facts)
    if classes is None:
        classes = classify_heads(model, found)
    check_classes(model, classes)
    return HeadExplorer(model, found, classes)
