"""Choosing a head shows its profile: without a browser, by the traits that one would set."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

import factviz as fv
from factviz.notebook import head_explorer
from factviz.notebook.head_explorer import HeadExplorer
from factviz.views import bundle, head_profile
from tests.families import tiny_model, tiny_tokenizer
from tests.notebook.test_worker import until


@pytest.fixture(scope="module")
def facts() -> list[fv.Fact]:
    return list(fv.FactSet.builtin())[::400]


@pytest.fixture(scope="module")
def classes(mini: fv.FactModel, facts: list[fv.Fact]) -> fv.HeadClasses:
    return fv.classify_heads(mini, facts)


@pytest.fixture
def shown(mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses) -> HeadExplorer:
    return fv.explore_heads(mini, facts, classes)


def chosen(layer: int, head: int) -> dict[str, Any]:
    return {"panel": 0, "row": layer * 8 + head, "key": {"layer": layer, "head": head}}


def title(widget: HeadExplorer) -> str:
    return widget.profile["spec"]["title"]


class Slow:
    """Profiles that wait at a gate, and say which heads were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, int]] = []
        self.threads: set[threading.Thread] = set()
        self.gate = threading.Event()
        monkeypatch.setattr(head_explorer, "profile_head", self.profile)

    def profile(self, model: fv.FactModel, facts: Any, layer: int, head: int) -> fv.HeadProfile:
        self.asked.append((layer, head))
        self.threads.add(threading.current_thread())
        assert self.gate.wait(20)
        return fv.profile_head(model, facts, layer, head)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch):
    made = Slow(monkeypatch)
    yield made
    made.gate.set()


def test_it_begins_with_the_plane_and_runs_nothing(shown: HeadExplorer, slow: Slow) -> None:
    assert [[panel["mark"] for panel in row] for row in shown.figure["spec"]["panels"]] == [
        ["points"]
    ] * len(shown.figure["spec"]["panels"])
    assert title(shown) == "Choose a head in the plane"
    assert shown.result is None
    shown._repr_mimebundle_()
    assert slow.asked == [] and threading.current_thread() not in slow.threads


def test_choosing_a_head_shows_its_profile(
    shown: HeadExplorer, mini: fv.FactModel, facts: list[fv.Fact]
) -> None:
    plane = shown.figure
    key = plane["spec"]["panels"][0][0]["keys"][28]
    shown.selection = {"panel": 0, "row": 28, "key": key}
    until(lambda: shown.result is not None)
    wanted = head_profile.build(fv.profile_head(mini, facts, **key))
    assert shown.profile == wanted.transport()
    assert shown.profile_buffer == wanted.buffer
    assert (shown.result.layer, shown.result.head) == (key["layer"], key["head"])
    assert shown.figure is plane or shown.figure == plane
    assert shown.error == ""

    shown.selection = None
    until(lambda: shown.result is None)
    assert title(shown) == "Choose a head in the plane"


def test_the_latest_of_quick_choices_wins(shown: HeadExplorer, slow: Slow) -> None:
    titles: list[str] = []
    shown.observe(lambda change: titles.append(change["new"]["spec"]["title"]), "profile")
    shown.selection = chosen(1, 1)
    until(lambda: slow.asked == [(1, 1)])
    assert title(shown) == "L1H1"  # it says what it is busy with
    shown.selection = chosen(2, 2)
    shown.selection = chosen(3, 3)
    assert slow.threads.isdisjoint({threading.current_thread()})
    slow.gate.set()
    until(lambda: shown.result is not None)
    assert slow.asked == [(1, 1), (3, 3)]
    assert (shown.result.layer, shown.result.head) == (3, 3)
    assert [name.split(":")[0] for name in titles] == ["L1H1", "L3H3", "L3H3"]
    assert len(slow.threads) == 1


def test_two_views_of_a_model_do_not_take_each_others_turn(
    mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses, slow: Slow
) -> None:
    one, other = (fv.explore_heads(mini, facts, classes) for _ in range(2))
    one.selection, other.selection = chosen(1, 1), chosen(2, 2)
    slow.gate.set()
    until(lambda: one.result is not None and other.result is not None)
    assert (one.result.layer, other.result.layer) == (1, 2)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (chosen(77, 1), "L77H1 does not exist: mini has layers 0 to 5"),
        ({"panel": 0, "row": 1, "key": None}, "names no head"),
        ({"key": {"layer": "<b>0</b>", "head": 0}}, "layer='<b>0</b>' is no number of a layer"),
    ],
)
def test_what_goes_wrong_is_shown(shown: HeadExplorer, selection: Any, said: str) -> None:
    shown.selection = selection
    until(lambda: shown.error != "")
    assert said in shown.error
    assert shown.result is None and title(shown) == "No profile"
    shown.selection = chosen(0, 0)
    until(lambda: shown.result is not None)
    assert shown.error == ""


def test_errors_that_nobody_thought_of_are_shown_too(
    shown: HeadExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("out of \u202ememory")

    monkeypatch.setattr(head_explorer, "profile_head", fail)
    shown.selection = chosen(0, 0)
    until(lambda: shown.error != "")
    assert shown.error == "RuntimeError: out of ‹U+202E›memory"


def test_classes_are_found_where_none_are_given(
    mini: fv.FactModel, facts: list[fv.Fact], shown: HeadExplorer
) -> None:
    assert fv.explore_heads(mini, fv.FactSet(facts)).figure == shown.figure


def test_what_it_refuses(mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses) -> None:
    small = fv.load_model(tiny_model("llama"), tokenizer=tiny_tokenizer())
    with pytest.raises(fv.FactvizError, match="classify this model's heads"):
        fv.explore_heads(small, facts, classes)
    with pytest.raises(fv.FactvizError, match="what classify_heads gives"):
        fv.explore_heads(mini, facts, "classes")  # type: ignore[arg-type]
    with pytest.raises(fv.FactvizError, match="give what load_model gives"):
        fv.explore_heads("mini", facts, classes)  # type: ignore[arg-type]


def test_the_painters_travel_as_a_string(shown: HeadExplorer) -> None:
    assert "__FACTVIZ_PAINTERS__" not in shown._esm
    assert shown._esm.count("export default") == 1
    line = next(row for row in shown._esm.splitlines() if row.startswith("const painters = "))
    assert json.loads(line.removeprefix("const painters = ").removesuffix(";")) == bundle.source()


def test_a_reopened_notebook_is_told_what_was_here(shown: HeadExplorer) -> None:
    assert "Run this cell again" in repr(shown)
    assert repr(shown).startswith("Head classes")
