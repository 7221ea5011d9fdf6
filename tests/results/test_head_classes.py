"""The class rule on heads whose class is known by hand, and tables of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import factviz as fv
from factviz.results import class_rule
from factviz.results.halves import subject_halves
from factviz.results.head_classes import HeadClasses

_MORE = ("subject_lift", "relation_lift", "subject_attention", "relation_attention",
         "preference", "preference_blocked", "preference_random")  # fmt: skip


def table(
    heads: Any,
    *,
    facts: int = 6,
    relations: str = "",
    subjects: str = "",
    threshold: float = 10.0,
    spread: float = 0.0,
) -> HeadClasses:
    """Classes of one layer's heads, each (from subject, from relation, from the rest)."""
    rows = np.broadcast_to(np.array(heads, dtype=float).T[:, None], (3, facts, len(heads)))
    noise = spread * np.where(np.arange(facts) % 2, 1, -1)[:, None]
    dims = ("fact", "layer", "head")
    named = dict(zip(("subject_dla", "relation_dla", "other_dla"), rows, strict=True))
    data: dict[str, Any] = {name: (dims, (v + noise)[:, None]) for name, v in named.items()}
    data |= {name: (dims, np.zeros((facts, 1, len(heads)))) for name in _MORE}
    names = list(subjects or "abcdefghijklmnopqrst"[:facts])
    coords = {name: ("fact", np.array(names, object)) for name in ("prompt", "subject", "answer")}
    coords["relation_name"] = ("fact", np.array(list(relations or "r" * facts), object))
    attrs = {"threshold": threshold, "n_boot": 100, "seed": 0}
    return HeadClasses(xr.Dataset(data, coords=coords, attrs=attrs), {"model": "made"})


def kinds(result: HeadClasses, relation: str = "all") -> list[str]:
    return result.classes.sel(relation=relation).values[0].tolist()


def test_two_heads_by_hand() -> None:
    """One head reads the answer from the subject alone, the other from the relation alone."""
    result = table([(1.0, 0.05, 0.0), (-0.02, 0.6, 0.1)])
    assert kinds(result) == ["subject", "relation"]
    frame = result.to_frame()
    row = frame[(frame["relation"] == "all") & (frame["head"] == 1)].iloc[0]
    assert row["relation_dla"] == pytest.approx(0.6)
    assert row["low"] == pytest.approx(0.6) and row["high"] == pytest.approx(0.6)
    assert row["size"] == pytest.approx(0.72)
    shares = result.shares().set_index(["relation", "class"])
    assert shares.loc[("all", "subject"), "share_of_dla"] == pytest.approx(1.05 / 1.77)
    assert shares.loc[("all", "relation"), "share_of_heads"] == 0.5
    assert result.heads("subject") == [(0, 0)] and result.heads("mixed") == []


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ((1.0, -0.02, 0.0), "subject"),  # a signed ratio of −50 is below every threshold
        ((-0.02, 1.0, 0.0), "relation"),
        ((1.0, -0.2, 0.0), "unclassified"),  # |ratio| 5: neither, and mixed needs both above 0
        ((0.09, 0.0, 0.0), "unclassified"),  # tiny: below 0.1 logit
        ((0.0, -0.09, 0.0), "unclassified"),
        ((0.5, 0.0, 0.6), "unclassified"),  # more than half of it is read from BOS
        ((0.5, 0.0, -0.6), "unclassified"),
        ((0.5, 0.0, 0.5), "subject"),  # just half
        ((0.4, 0.3, 0.0), "mixed"),
        ((0.4, 0.04, 0.0), "subject"),  # the ratio is just 10
        ((0.45, 0.049, 0.0), "unclassified"),  # ratio inside, one of them below 0.05 logit
        ((-0.5, 0.1, 0.0), "suppressing"),
        ((-0.5, 0.0, 0.0), "suppressing"),
        ((0.0, 0.0, 0.0), "unclassified"),
    ],
)
def test_every_trap_has_its_class(head: tuple[float, float, float], expected: str) -> None:
    assert kinds(table([head, (1.0, 0.0, 0.0)]))[0] == expected


def test_one_percent_of_all_heads_dla_is_asked_for() -> None:
    large = [(20.0, 0.0, 0.0)]
    assert kinds(table([(0.19, 0.0, 0.0), *large]))[0] == "unclassified"
    assert kinds(table([(0.21, 0.0, 0.0), *large]))[0] == "subject"


def test_a_mixed_head_needs_both_intervals_above_0() -> None:
    assert kinds(table([(0.3, 0.2, 0.0)], spread=0.05)) == ["mixed"]
    assert kinds(table([(0.3, 0.2, 0.0)], spread=1.0)) == ["unclassified"]
    # Of one subject there is no interval.
    assert kinds(table([(0.3, 0.2, 0.0)], subjects="aaaaaa")) == ["unclassified"]


def test_another_threshold_computes_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    result = table([(0.5, 0.1, 0.0), (0.06, 0.5, 0.0)])
    assert kinds(result) == ["mixed", "mixed"]
    monkeypatch.setattr("factviz.results.head_classes.subject_bands", lambda *_, **__: 1 / 0)
    again = result.at(3)
    assert kinds(again) == ["subject", "relation"] and again.threshold == 3
    assert result.threshold == 10 and kinds(again.at(10)) == ["mixed", "mixed"]


@pytest.mark.parametrize("threshold", [1, 0.5, -3, float("nan"), float("inf"), "10", None, True])
def test_a_threshold_that_is_no_ratio(threshold: Any) -> None:
    with pytest.raises(fv.FactvizError, match="number above 1"):
        table([(1.0, 0.0, 0.0)]).at(threshold)


def test_all_is_the_macro_average_over_relations() -> None:
    result = table([(1.0, 0.0, 0.0), (0.5, 0.0, 0.0)], facts=4, relations="xxxy")
    values = result.dataset["subject_dla"].values.copy()
    values[3] = 5.0
    result = HeadClasses(
        result.dataset.assign(subject_dla=(("fact", "layer", "head"), values)), result.provenance
    )
    assert result.relations == ["all", "x", "y"]
    bands = result.bands()
    assert float(bands["subject_dla"].sel(relation="all", head=0, layer=0)) == pytest.approx(3.0)
    assert float(bands["subject_dla"].sel(relation="x", head=0, layer=0)) == pytest.approx(1.0)
    assert bands["facts"].values.tolist() == [4, 3, 1]


def test_halves_share_no_subject_and_hold_every_relation() -> None:
    subjects = list("aabbccddeeff")
    relations = ["x", "y"] * 6
    one, two = subject_halves(subjects, relations, seed=3)
    assert not {subjects[i] for i in one} & {subjects[i] for i in two}
    assert sorted((*one, *two)) == list(range(12))
    assert {relations[i] for i in one} == {relations[i] for i in two} == {"x", "y"}
    turned = subject_halves(subjects[::-1], relations[::-1], seed=3)
    assert {subjects[i] for i in one} == {subjects[::-1][i] for i in turned[0]}
    with pytest.raises(fv.FactvizError, match="can't be halved"):
        subject_halves(["a", "a"], ["x", "y"])


def test_heads_are_judged_on_the_half_they_were_not_chosen_on() -> None:
    """A head that is large for half of the subjects only is chosen there, and judged to be none."""
    result = table([(1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)], facts=8)
    names = [str(name) for name in result.dataset["subject"].values]
    halves = subject_halves(names, ["r"] * 8, seed=0)
    values = result.dataset["subject_dla"].values.copy()
    values[list(halves[0]), 0, 1] = 2.0
    result = HeadClasses(
        result.dataset.assign(subject_dla=(("fact", "layer", "head"), values)), result.provenance
    )
    told = result.cross_fit()
    lucky = told[told["head"] == 1]
    assert lucky["half"].tolist() == [0]
    assert lucky["class"].tolist() == ["subject"] and lucky["judged"].tolist() == ["unclassified"]
    assert lucky["subject_dla"].tolist() == [0.0]
    assert (told[told["head"] == 0]["judged"] == "subject").all()


def test_unknown_names() -> None:
    result = table([(1.0, 0.0, 0.0)])
    with pytest.raises(fv.FactvizError, match="class 'sub' is unknown"):
        result.heads("sub")
    with pytest.raises(fv.FactvizError, match="no relation 'q'"):
        result.heads("subject", "q")
    with pytest.raises(fv.FactvizError, match="no relation 'q'"):
        result.view(relation="q")
    broken = result.dataset.drop_vars("other_dla")
    with pytest.raises(fv.FactvizError, match="'other_dla' is missing"):
        HeadClasses(broken, {})


def test_the_rule_in_words_has_its_numbers() -> None:
    for value in (class_rule.LEAST, class_rule.MIXED):
        assert f"{value:g} logit" in class_rule.RULE
