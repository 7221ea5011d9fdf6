"""Backward chaining without a browser: by the traits that one would set."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import factviz as fv
from factviz.notebook import path_explorer
from factviz.notebook.path_explorer import PathExplorer
from tests.families import tiny_model, tiny_tokenizer
from tests.notebook.test_worker import until

pytestmark = pytest.mark.filterwarnings("ignore:π is")

FACTS = [
    fv.Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r"),
    fv.Fact("w50 w21 w22 w7 w19", "w21 w22", "w33", relation="r"),
]


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    return fv.load_model(
        tiny_model("gpt2"), tokenizer=tiny_tokenizer(), prepend_bos=True, name="tiny"
    )


@pytest.fixture
def shown(model: fv.FactModel) -> PathExplorer:
    return fv.explore_paths(model, FACTS)


def key(level: int, component: str, layer: Any, head: Any = None, at: str = "end") -> Any:
    named = {"level": level, "at": at, "component": component, "layer": layer, "head": head}
    return {"panel": 0, "row": 0, "key": named}


def choose(widget: PathExplorer, selection: Any) -> None:
    widget.selection = selection
    until(lambda: widget.selection is None)


def test_it_begins_with_the_answer(shown: PathExplorer, model: fv.FactModel) -> None:
    assert shown.path == ["answer at END"] and list(shown.results) == ["the final residual"]
    wanted = fv.patch_paths(model, FACTS, "other topic")
    assert shown.results["the final residual"].dataset.identical(wanted.dataset)
    assert "Run this cell again" in repr(shown)


def test_a_head_is_followed_to_what_feeds_it(shown: PathExplorer, model: fv.FactModel) -> None:
    panel = shown.figure["spec"]["panels"][0][1]
    which = next(i for i, k in enumerate(panel["keys"]) if k["layer"] == 2 and k["head"])
    chosen = panel["keys"][which]
    choose(shown, {"panel": 1, "row": which, "key": chosen})
    assert shown.path == ["answer at END", f"L2H{chosen['head']} at END"] and shown.error == ""
    assert list(shown.results) == ["q at END", "v at topic", "k at topic", "v at END", "k at END"]
    for label, place in (("q at END", "end"), ("v at topic", "topic")):
        wanted = fv.patch_paths(
            model, FACTS, "other topic", receiver=(label[0], 2, chosen["head"]), at=place
        )
        assert shown.results[label].dataset.identical(wanted.dataset)
    # On from the topic, to an MLP there; then back.
    choose(shown, key(1, "mlp", 1, at="topic"))
    assert shown.path[2:] == ["MLP 1 at topic"] and list(shown.results) == ["its input"]
    assert shown.results["its input"].provenance["at"] == "topic"
    assert shown.figure["spec"]["title"].count("←") == 2
    shown.back()
    until(lambda: shown.selection is None)
    assert len(shown.path) == 2 and len(shown.results) == 5
    choose(shown, {"key": {"back": 0}})
    assert shown.path == ["answer at END"]
    shown.back()
    until(lambda: shown.selection is None)
    assert shown.path == ["answer at END"]


def test_a_row_of_the_matrix_shows_its_numbers_and_leads_nowhere(shown: PathExplorer) -> None:
    matrix = shown.figure["spec"]["panels"][0][0]
    assert matrix["mark"] == "matrix" and matrix["rows"]["keys"] is None
    row = {"panel": 0, "row": 1, "key": None}
    shown.selection = row
    assert shown.selection == row and shown.path == ["answer at END"] and shown.error == ""


def test_another_choice_above_takes_the_place_of_the_way(shown: PathExplorer) -> None:
    choose(shown, key(0, "mlp", 2))
    choose(shown, key(0, "mlp", 1))
    assert shown.path == ["answer at END", "MLP 1 at END"]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (key(0, "head", 9, 1), "layer 9 does not exist"),
        (key(0, "head", "<b>", 1), "'<b>'"),
        (key(4, "mlp", 1), "there is no stop 4: the way has 1"),
        (key(False, "mlp", 1), "there is no stop False: the way has 1"),
        (key(0, "neuron", 1), "names no sender: choose one among the bars"),
        ({"panel": 0, "row": 1, "key": {"layer": 1}}, "names no sender: choose one among the bars"),
    ],
    ids=str,
)
def test_what_goes_wrong_is_shown(shown: PathExplorer, selection: Any, said: str) -> None:
    choose(shown, selection)
    assert said in shown.error and shown.path == ["answer at END"]
    choose(shown, key(0, "mlp", 1))
    assert shown.error == "" and len(shown.path) == 2


def test_the_way_ends_at_a_head_that_nothing_feeds(shown: PathExplorer) -> None:
    choose(shown, key(0, "head", 0, 1))
    assert shown.path == ["answer at END", "L0H1 at END"] and shown.error == ""
    assert shown.results == {}
    assert "L0H1 at END reads the embedding: nothing feeds it." in shown.figure["spec"]["notes"]
    shown.back()
    until(lambda: shown.selection is None)
    assert shown.path == ["answer at END"]


def test_what_is_being_followed_marks_no_panel(
    shown: PathExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panels move down under a selection: its row would be one of another panel."""
    gate, asked = threading.Event(), []

    def slow(*args: Any, **options: Any) -> Any:
        asked.append(options["receiver"])
        assert gate.wait(20)
        return fv.patch_paths(*args, **options)

    monkeypatch.setattr(path_explorer, "patch_paths", slow)
    wanted = key(0, "mlp", 1)
    shown.selection = wanted
    until(lambda: asked == [("mlp", 1)])
    assert shown.selection == {"key": wanted["key"]}
    gate.set()
    until(lambda: shown.selection is None)
    assert asked == [("mlp", 1)] and len(shown.path) == 2


def test_errors_that_nobody_thought_of_are_shown_too(
    shown: PathExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of \u202ememory")

    monkeypatch.setattr(path_explorer, "patch_paths", fail)
    choose(shown, key(0, "mlp", 1))
    assert shown.error == "RuntimeError: out of ‹U+202E›memory"


def test_the_notebook_stays_free_and_the_latest_choice_wins(
    shown: PathExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, threads, asked = threading.Event(), set(), []

    def slow(*args: Any, **options: Any) -> Any:
        threads.add(threading.current_thread())
        asked.append(options["receiver"])
        assert gate.wait(20)
        return fv.patch_paths(*args, **options)

    monkeypatch.setattr(path_explorer, "patch_paths", slow)
    shown.selection = key(0, "head", 2, 1)
    until(lambda: asked == [("q", 2, 1)])
    assert any("worked out" in note for note in shown.figure["spec"]["notes"])
    shown.selection = key(0, "mlp", 2)
    shown.selection = key(0, "mlp", 1)
    gate.set()
    until(lambda: shown.selection is None)
    assert asked == [("q", 2, 1), ("mlp", 1)] and threading.current_thread() not in threads
    assert shown.path == ["answer at END", "MLP 1 at END"]


def test_what_it_refuses(model: fv.FactModel) -> None:
    with pytest.raises(fv.FactvizError, match="give what load_model gives"):
        fv.explore_paths("mini", FACTS)  # type: ignore[arg-type]
    with pytest.raises(fv.FactvizError, match="recipe 'nonsense'"):
        fv.explore_paths(model, FACTS, "nonsense")
