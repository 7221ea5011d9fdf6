"""Sets of facts: sequence behaviour, S and R, selection, files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import Fact
from factviz.facts.factset import FactSet, as_facts
from tests.hostile import HOSTILE


def _facts() -> list[Fact]:
    def make(subject: str, relation: str, answer: str) -> Fact:
        return Fact(f"{subject} has {relation}", subject, answer, relation)

    return [
        make("Paris", "country", "France"),
        make("Paris", "language", "French"),
        make("Rome", "country", "Italy"),
        make("Lyon", "country", "France"),
    ]


def test_s_and_r_come_from_the_set() -> None:
    paris, _, rome, lyon = FactSet(_facts())
    assert (paris.same_subject, paris.same_relation) == (("French",), ("Italy",))
    assert (rome.same_subject, rome.same_relation) == ((), ("France",))
    assert lyon.same_relation == ("Italy",)


def test_another_right_answer_of_the_same_subject_is_not_in_r() -> None:
    facts = FactSet(
        Fact(f"{subject} is in", subject, answer, "in")
        for subject, answer in (("Ayr", "x"), ("Ayr", "y"), ("Bonn", "z"))
    )
    assert facts[0].same_relation == ("z",)
    assert facts[2].same_relation == ("x", "y")


def test_notes_stay_with_a_fact_inside_a_set() -> None:
    with pytest.warns(FactvizWarning):
        fact = Fact("Paris and Paris is in", "Paris", "France", "r")
    assert FactSet([fact, *_facts()])[0].notes == fact.notes != ()


def test_given_sets_are_kept() -> None:
    fact = _facts()[0].replace(same_relation=("Peru",))
    assert FactSet([fact, *_facts()[1:]])[0].same_relation == ("Peru",)


def test_slices_and_selections_are_sets_with_the_same_s_and_r() -> None:
    facts = FactSet(_facts())
    assert isinstance(facts[:2], FactSet)
    assert facts[:1][0] == facts[0]
    selected = facts.select(relation="country", answer=["France"])
    assert [fact.subject for fact in selected] == ["Paris", "Lyon"]
    assert selected[0].same_subject == ("French",)


def test_an_empty_selection_lists_what_there_is() -> None:
    with pytest.raises(
        FactvizError, match="no fact has relation 'capital'; there are 'country', '"
    ):
        FactSet(_facts()).select(relation="capital")


def test_builtin_covers_the_tables_with_declared_prefixes() -> None:
    facts = FactSet.builtin()
    (colosseum,) = facts.select(subject="The Colosseum", relation="landmark_country")
    assert colosseum.prompt == "Fact: The Colosseum is in the country of"
    assert (colosseum.prefix, colosseum.answer) == ("Fact:", "Italy")
    assert colosseum.same_subject == ("Rome", "Europe", "arena")
    assert {"France", "Japan"} <= set(colosseum.same_relation)


def test_known_keeps_facts_whose_answer_is_in_the_top() -> None:
    words = ["France", "French", "Italy", "other"]

    class Tokenizer:
        is_fast, unk_token_id = True, None

        def __call__(self, text: str, **_: Any) -> dict[str, list[Any]]:
            ids = [words.index(w) if w in words else 9 for w in text.split()]
            return {"input_ids": ids, "offset_mapping": [(0, 0)] * len(ids)}

        def decode(self, ids: list[int]) -> str:
            return " ".join(words[i] if i < 4 else "?" for i in ids)

    model = SimpleNamespace(
        tokenizer=Tokenizer(), top_ids=lambda facts, k: [[0, 3][:k]] * len(facts)
    )
    known = FactSet(_facts()).known(model, top_k=1)  # type: ignore[arg-type]
    assert [fact.answer for fact in known] == ["France", "France"]
    with pytest.raises(FactvizError, match="top_k must be at least 1"):
        known.known(model, top_k=0)  # type: ignore[arg-type]


def test_to_frame_has_its_columns() -> None:
    frame = FactSet(_facts()).to_frame()
    assert list(frame.columns) == ["prompt", "subject", "relation", "answer"]
    assert len(frame) == 4


@pytest.mark.parametrize(("bad", "said"), [([], "no facts"), (["x"], "not str: 'x'")])
def test_as_facts_refuses_what_is_no_fact(bad: list[Any], said: str) -> None:
    with pytest.raises(FactvizError, match=said):
        as_facts(bad)


def test_csv_round_trip_with_hostile_text(tmp_path: Path) -> None:
    import pandas as pd

    facts = [
        Fact(f"About {text} is", text, "yes", f"r{index}")
        for index, text in enumerate(HOSTILE)
        if text.strip() and "\ud83d" not in text and "\r" not in text and "\x00" not in text
    ]
    path = tmp_path / "facts.csv"
    FactSet(facts).to_frame().to_csv(path, index=False)
    assert pd.read_csv(path).shape[0] == len(facts)
    assert [f.subject for f in FactSet.read(path)] == [f.subject for f in facts]


def test_templates_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("subject,answer,template,same_relation\nRome,Italy,{} is in,Peru; France\n")
    (fact,) = FactSet.read(path)
    assert (fact.prompt, fact.same_relation) == ("Rome is in", ("Peru", "France"))


def test_counterfact(tmp_path: Path) -> None:
    asked = {"prompt": "{} is in", "subject": "Rome", "target_true": {"str": "Italy"}}
    path = tmp_path / "c.json"
    path.write_text(json.dumps([{"requested_rewrite": asked}]))
    (fact,) = FactSet.read(path)
    assert (fact.prompt, fact.answer) == ("Rome is in", "Italy")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "x,y\n1,2\n", "has the columns"),
        (
            "b.csv",
            "subject,answer,prompt\nRome,Italy,Paris is in\n",
            "b.csv, row 1: subject 'Rome'",
        ),
        ("c.csv", "subject,answer,prompt\nRome,Italy\n", "row 1: it has more or fewer cells"),
        ("d.json", "{not json", "neither CSV nor JSON"),
        ("e.json", "[1, 2]", "not of LRE"),
        ("f.json", '[{"requested_rewrite": {}}]', "row 1 is not a fact"),
        ("g.csv", "subject,answer,prompt\n", "holds no facts"),
        ("h.json", "[" * 100_000, "neither CSV nor JSON"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FactvizError, match=said):
        FactSet.read(path)


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FactvizError, match=r"cannot read 'no\.csv'"):
        FactSet.read(tmp_path / "no.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FactvizError, match="as text"):
        FactSet.read(tmp_path / "b.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FactvizError, match="holds no"):
        FactSet.read(tmp_path / "empty")


def test_lre_and_known_1000(shared: Path) -> None:
    lre = FactSet.read(shared / "data" / "lre")
    assert len({fact.relation for fact in lre}) == 26
    (paris,) = FactSet.read(shared / "data/lre/country_capital_city.json").select(subject="France")
    assert (paris.prompt, paris.answer) == ("The capital city of France is", "Paris")
    known = FactSet.read(shared / "data" / "known_1000.json")
    assert len(known) == 1209
    assert known[0].prompt == "Vinson Massif is located in the continent of"
