"""Zero- and few-shot side by side: the numbers against the plain way, controls, onsets."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from tokenizers import normalizers

import factviz as fv
from factviz.analysis import shot_comparison
from factviz.results.shot_comparison import ShotComparison, onset
from tests.families import tiny_model, tiny_tokenizer

TEMPLATE = "w1 {subject} w2 w3"
SUBJECTS = {"w11": "w31", "w12": "w32", "w13 w14": "w33", "w15": "w34", "w16": "w35"}
FACTS = [fv.Fact.from_template(TEMPLATE, s, a, relation="r") for s, a in SUBJECTS.items()]


@cache
def tiny(family: str) -> Any:
    tokenizer = tiny_tokenizer()
    # It has no full stop, with which a shot ends: the last word stands for it.
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(".", " w60")
    return fv.load_model(tiny_model(family), tokenizer=tokenizer, prepend_bos=True)


@pytest.mark.parametrize("family", ["gpt2", "neox-parallel", "llama", "gemma2", "olmo2", "granite"])
def test_numbers_are_those_of_one_prompt_at_a_time(family: str) -> None:
    model = tiny(family)
    found = fv.compare_shots(model, FACTS, counts=(0, 2), controls=2)
    data = found.dataset
    assert found.shots == [0, 2]
    for place, count in enumerate((0, 2)):
        asked = fv.FactSet(FACTS).with_shots(count)
        for row, fact in enumerate(asked):
            assert str(data["asked"].values[row, place]) == fact.prompt
            traced = fv.trace(model, fact)
            topic = fact.subject.split()
            parts = fv.attribute_logits(traced, [fact.answer, *topic]).heads.sum("source")
            for name, words in (("answer_write", [fact.answer]), ("topic_write", topic)):
                wanted = parts.sel(attribute=words).mean("attribute").values
                assert data[name].values[row, place] == pytest.approx(wanted, abs=1e-5), name
            mass = traced.pattern[0][..., list(traced.groups[0]["subject"])].sum(-1)
            assert data["attention"].values[row, place] == pytest.approx(mass.numpy(), abs=1e-6)
            top = model.predict(fact, 61)
            mine = top[top["token"].str.strip() == fact.answer]
            assert data["probability"].values[row, place] == pytest.approx(
                float(mine["probability"].iloc[0]), abs=1e-6
            )
            assert data["rank"].values[row, place] == mine.index[0] + 1
            logits = top["logit"]
            wanted = float(mine["logit"].iloc[0] - logits.mean())
            assert data["logit"].values[row, place] == pytest.approx(wanted, abs=1e-4)


def test_controls_are_other_topics_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gpt2")
    seen: list[Any] = []
    real = shot_comparison._others

    def others(*args: Any) -> Any:
        seen.append(real(*args))
        return seen[-1]

    monkeypatch.setattr(shot_comparison, "_others", others)
    found = fv.compare_shots(model, FACTS, counts=(0, 2), controls=2)
    controls, notes = seen[0]
    assert not notes
    for row, (fact, some) in enumerate(zip(FACTS, controls, strict=True)):
        assert len(some) == 2 and all(one.relation == "r" for one in some)
        assert all(one.subject != fact.subject and one.answer != fact.answer for one in some)
        prompt = str(found.dataset["asked"].values[row, 0])
        words = [one.answer for one in some]
        wanted = fv.attribute_logits(fv.trace(model, fact), words).heads.sum("source")
        got = found.dataset["answer_write_control"].values[row, 0]
        assert got == pytest.approx(wanted.mean("attribute").values, abs=1e-5)
        assert prompt == fact.prompt


def test_shots_are_no_controls_as_long_as_there_are_others() -> None:
    facts = [fv.Fact("w1 w11 w2", "w11", "w31", relation="r")]
    others = [fv.Fact(f"w1 w{i} w2", f"w{i}", f"w{i + 20}", relation="r") for i in (12, 13)]
    prompts: Any = [type("P", (), {"facts": [fv.Fact("w12 is w32. w1 w11 w2", "w11", "w31")]})]
    (found,), notes = shot_comparison._others(facts, [*facts, *others], prompts, 3, 0)
    assert [fact.subject for fact in found] == ["w13"] and not notes
    (found,), notes = shot_comparison._others(facts, [*facts, others[0]], prompts, 3, 0)
    assert [fact.subject for fact in found] == ["w12"]
    assert notes == ["1 facts have no control that is not among their shots"]
    (found,), notes = shot_comparison._others(facts, facts, prompts, 3, 0)
    assert found == [] and notes[0].startswith("1 facts have no control:")


def test_a_topic_that_is_not_the_subject() -> None:
    model = tiny("gpt2")
    named = [
        fv.Fact.from_template(
            "w1 {subject} w2 w40 w3", f.subject, f.answer, relation="r", topic="w40"
        )
        for f in FACTS
    ]
    found = fv.compare_shots(model, named, counts=0).dataset
    for row, fact in enumerate(named):
        traced = fv.trace(model, fact)
        parts = fv.attribute_logits(traced, ["w40"]).heads.sum("source").values[0]
        assert found["topic_write"].values[row, 0] == pytest.approx(parts, abs=1e-5)
        place = traced.tokens[0].texts.index(" w40")
        mass = traced.pattern[0][..., place].numpy()
        assert found["attention"].values[row, 0] == pytest.approx(mass, abs=1e-6)
        # All share the topic, so that there is no control: and that is said.
    assert np.isnan(found["topic_write_control"].values).all()


def test_without_a_control_nothing_is_found() -> None:
    two = [
        fv.Fact.from_template(TEMPLATE, "w11", "w31", relation="r"),
        fv.Fact.from_template(TEMPLATE, "w12", "w31", relation="r"),
    ]
    found = fv.compare_shots(tiny("gpt2"), two, counts=[0])
    table = found.onsets().set_index("measure")
    assert not table.loc["answer_write", "found"] and np.isnan(table.loc["answer_write", "layer"])
    assert any("no control" in note for note in found.provenance["notes"])
    assert "none found" in repr(found)
    assert "in no layer" in str(found._repr_mimebundle_()["text/html"])


@pytest.mark.parametrize(
    ("mean", "low", "wanted"),
    [
        ([0.1, 0.5, 0.9], [-0.1, 0.2, 0.5], 1),
        ([0.2, 0.1, 0.9], [0.1, -0.2, 0.5], 2),  # an early layer's chance does not count
        ([0.2, 0.9, 0.1], [0.1, 0.5, -0.2], 0),  # nor what comes behind the peak
        ([0.2, 0.9, 0.1], [0.1, -0.5, -0.2], None),
        ([-0.2, -0.1, -0.3], [-0.4, -0.3, -0.5], None),
        ([0.3, 0.2], [0.0, 0.1], None),  # touching 0 is not above it
        ([0.3, 0.4], [np.nan, np.nan], None),
        ([np.nan, np.nan], [np.nan, np.nan], None),
    ],
)
def test_where_something_starts(mean: list[float], low: list[float], wanted: int | None) -> None:
    assert onset(np.array(mean), np.array(low)) == wanted


def _planted() -> ShotComparison:
    """Four subjects; with 2 shots heads write the answer one layer earlier."""
    found = fv.compare_shots(tiny("gpt2"), FACTS[:4], counts=(0, 2))
    data = found.dataset.copy(deep=True)
    for name in ("answer_write", "answer_write_control"):
        data[name].values[:] = 0.0
    # Fact by fact a little apart, or the interval would be a point.
    spread = np.linspace(0.9, 1.1, 4)[:, None]
    data["answer_write"].values[:, 0, 2, :] = spread
    data["answer_write"].values[:, 1, 1, :] = spread
    data["probability"].values[:] = [[0.1, 0.3], [0.2, 0.4], [0.3, 0.5], [0.4, 0.6]]
    return ShotComparison(data, found.provenance)


def test_a_planted_onset_and_a_planted_gain() -> None:
    found = _planted()
    rows = found.onsets().query("measure == 'answer_write'").set_index("shots")
    assert rows["layer"].tolist() == [2, 1] and rows["half_layer"].tolist() == [2, 1]
    assert rows["difference"].tolist() == pytest.approx([4, 4])  # four heads, 1 each
    assert rows["peak"].tolist() == pytest.approx([4, 4])
    table = found.table().set_index("shots")
    assert table.loc[2, "probability_gain"] == pytest.approx(0.2)
    # Paired: every fact gains as much, so that the interval is a point.
    edges = table.loc[2, ["probability_gain_low", "probability_gain_high"]].tolist()
    assert edges == pytest.approx([0.2, 0.2])
    assert table.loc[2, "probability_high"] - table.loc[2, "probability_low"] > 0.05
    assert np.isnan(table.loc[0, "probability_gain"])
    curves = found.curves()
    assert curves["answer_write"].values == pytest.approx(np.array([[0, 0, 4], [0, 4, 4]]))


def test_the_order_of_the_facts_does_not_matter_to_what_is_asked() -> None:
    model = tiny("gpt2")
    one = fv.compare_shots(model, FACTS, counts=(1, 0))
    two = fv.compare_shots(model, fv.FactSet(FACTS), counts=[0, 1, 1])
    assert one.dataset.identical(two.dataset) and one.shots == [0, 1]


def test_tables_have_what_they_say() -> None:
    found = fv.compare_shots(tiny("llama"), FACTS, counts=(0, 1))
    frame = found.to_frame()
    assert frame.columns.tolist()[:3] == ["fact", "shots", "layer"]
    assert len(frame) == len(FACTS) * 2 * 3
    heads = found.heads(n_boot=20)
    assert len(heads) == 2 * 3 * 4
    last = frame.query("layer == 2 and shots == 1")["answer_write"].mean()
    less = frame.query("layer == 2 and shots == 1")["answer_write_control"].mean()
    assert heads.query("shots == 1")["answer_write"].sum() == pytest.approx(last - less, abs=1e-6)


@pytest.mark.parametrize(
    ("facts", "asked", "words"),
    [
        (FACTS, {"counts": (0, -1)}, "-1 shots"),
        (FACTS, {"counts": (0, 1.5)}, "1.5 shots"),
        (FACTS, {"counts": (True,)}, "True shots"),
        (FACTS, {"counts": ()}, "no numbers of shots"),
        (FACTS, {"counts": (0, 5)}, "5 shots asked for, but relation 'r' has 4"),
        (FACTS, {"controls": 0}, "controls=0"),
        (FACTS[:1], {"counts": 0}, "1 subject"),
        ([FACTS[0], FACTS[0].replace(answer="w40")], {"counts": 0}, "1 subject"),
        ([], {}, "no facts"),
        (FACTS, {"among": []}, "no facts"),
    ],
)
def test_bad_input(facts: Any, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(fv.FactvizError, match=words):
        fv.compare_shots(tiny("gpt2"), facts, **asked)


def test_an_interrupt_keeps_the_shots_that_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    real, runs = shot_comparison._measure, []

    def measure(*args: Any) -> Any:
        runs.append(args)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(shot_comparison, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        fv.compare_shots(tiny("gpt2"), FACTS, counts=(0, 1, 2))
    kept = fv.partial_result()
    assert kept.shots == [0, 1] and kept.provenance["partial"]


def test_capitals_on_the_embedded_model() -> None:
    """Heads write topic and answer above other facts' ones, with and without shots."""
    model = fv.load_model("mini-gpt2")
    facts = fv.FactSet.builtin().select(relation="country_capital")
    found = fv.compare_shots(model, facts[:40], counts=(0, 1, 2), among=facts)
    assert found.onsets()["found"].all()
    table = found.table()
    assert (table["top1_low"] > 0.5).all() and len(table) == 3
    assert found.provenance["shots"] == [0, 1, 2]
