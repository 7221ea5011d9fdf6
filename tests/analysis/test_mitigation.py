"""Gains and temperature: planted, exact at 1, and by brute force on every family."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.gain_runs import GainRuns
from tests.analysis import planted_heads as planted
from tests.families import FAMILIES, tiny_model, tiny_tokenizer

GAINS = [0, 0.5, 1]
FACTS = [
    fv.Fact("w5 w17 w33 w8 w41", "w17 w33", "w11", relation="r"),
    fv.Fact("w5 w18 w34 w9 w41", "w18 w34", "w12", relation="r"),
    fv.Fact("w5 w19 w8 w41", "w19", "w13", relation="q"),
]


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    return planted.suppressor()


@pytest.fixture(scope="module")
def result(model: fv.FactModel) -> fv.Mitigation:
    return fv.mitigate(model, planted.facts(), GAINS)


def test_the_planted_suppressor_is_scaled_and_that_helps(result: fv.Mitigation) -> None:
    assert result.components == ["L0H1"] and result.gain == 0 and result.helps
    assert "helps" in repr(result)
    data = result.dataset
    kinds = data["setting_kind"].values.tolist()
    assert kinds == ["unmitigated", *["gain"] * 3, *["control"] * 3, "temperature"]
    for fact, subject in enumerate(planted.SUBJECTS):
        answer = planted.ANSWERS[subject]
        for setting, gain in ((0, 1.0), (1, 0.0), (2, 0.5)):
            chances = planted.softmax(planted.logits_with_gain(subject, gain))
            own = data.isel(fact=fact, setting=setting)
            assert float(own["probability"]) == pytest.approx(chances[answer], abs=2e-4)
            assert float(own["confidence"]) == pytest.approx(chances.max(), abs=2e-4)
            assert float(own["right"]) == float(chances.argmax() == answer)
            assert float(own["nll"]) == pytest.approx(-math.log(chances[answer]), abs=2e-3)
            brier = ((chances - np.eye(len(chances))[answer]) ** 2).sum()
            assert float(own["brier"]) == pytest.approx(brier, abs=5e-4)
        logits = planted.logits_with_gain(subject, 1.0) / result.temperature
        own = float(data["probability"][fact, -1])
        assert own == pytest.approx(planted.softmax(logits)[answer], abs=2e-4)


def test_the_temperature_is_the_best_on_the_choosing_half(result: fv.Mitigation) -> None:
    halves = result.dataset["half"].values
    chosen = [s for s, half in zip(planted.SUBJECTS, halves, strict=True) if half == "choosing"]

    def loss(temperature: float) -> float:
        return float(
            np.mean(
                [
                    -np.log(
                        planted.softmax(planted.logits_with_gain(s, 1.0) / temperature)[
                            planted.ANSWERS[s]
                        ]
                    )
                    for s in chosen
                ]
            )
        )

    best = loss(result.temperature)
    assert all(best <= loss(t) + 1e-9 for t in np.geomspace(0.05, 20, 200))


def test_a_gain_of_one_changes_nothing(result: fv.Mitigation) -> None:
    data = result.dataset
    for name in ("probability", "confidence", "right", "nll", "brier"):
        clean = data[name].values[:, 0]
        for setting in np.flatnonzero(data["gain"].values == 1):
            assert clean.tobytes() == data[name].values[:, setting].tobytes()


def test_the_control_scales_the_other_head(result: fv.Mitigation) -> None:
    """The only other head writes the answer: without it nothing says so."""
    data = result.dataset
    setting = int(np.flatnonzero((data["setting_kind"] == "control") & (data["gain"] == 0))[0])
    assert (data["probability"].values[:, setting] < data["probability"].values[:, 0]).all()


def test_tables(result: fv.Mitigation) -> None:
    frame = result.to_frame()
    assert list(frame.columns[:6]) == ["component", "layer", "head", "effect", "low", "high"]
    row = frame.query("setting == 'gain' and gain == 0 and measure == 'nll' and half == 'judging'")
    assert row["component"].tolist() == ["L0H1"] and row["head"].tolist() == [1]
    assert row["chosen"].tolist() == [True]
    assert row["effect"].item() < row["high"].item() < 0
    table = result.table().set_index(["method", "measure"])
    data = result.dataset.isel(fact=result.dataset["half"].values == "judging")
    mean = float(data["nll"].values[:, 1].mean())
    assert table.loc[("mitigated", "nll"), "value"] == pytest.approx(mean)
    assert table.loc[("unmitigated", "ece"), "change"] == 0
    bins = result.reliability("unmitigated")
    assert bins["facts"].sum() == data.sizes["fact"] and (bins["confidence"].diff()[1:] >= 0).all()
    gap = (bins["accuracy"] - bins["confidence"]).abs() @ bins["facts"] / bins["facts"].sum()
    assert table.loc[("unmitigated", "ece"), "value"] == pytest.approx(gap)
    curve = result.curve("nll")
    assert curve["gain"].tolist() == [0, 0.5, 1] and curve["value"].is_monotonic_increasing
    with pytest.raises(fv.FactvizError, match="method 'hope' is unknown"):
        result.reliability("hope")
    with pytest.raises(fv.FactvizError, match="half 'third'"):
        result.table(half="third")


def test_halves_share_no_subject(model: fv.FactModel) -> None:
    twice = [*planted.facts(), *planted.facts()]
    data = fv.mitigate(model, twice, [0.5], components=(0, 1)).dataset
    halves = {s: set() for s in map(str, data["subject"].values)}
    for subject, half in zip(data["subject"].values, data["half"].values, strict=True):
        halves[str(subject)].add(str(half))
    assert all(len(half) == 1 for half in halves.values())


def test_where_no_gain_helps_the_answer_says_so(model: fv.FactModel) -> None:
    found = fv.mitigate(model, planted.facts(), [0, 0.5], components=(0, 0))
    assert found.gain == 1 and not found.helps
    assert "no gain lowers NLL" in repr(found)
    assert found.setting("mitigated") == 0 and found.setting("random parts") is None


def test_where_nothing_is_found_nothing_is_scaled() -> None:
    found = fv.mitigate(planted.mover(), planted.facts(), GAINS)
    assert found.components == [] and found.gain == 1 and not found.helps
    assert found.dataset["setting_kind"].values.tolist() == ["unmitigated", "temperature"]
    assert "nothing is scaled" in repr(found)
    assert any("no suppressor was found" in note for note in found.provenance["notes"])
    assert len(found.table()) == 15 and len(found.curve("ece")) == 1


@pytest.mark.parametrize("criterion", ["brier", "ece"])
def test_other_criteria(model: fv.FactModel, criterion: Any) -> None:
    found = fv.mitigate(model, planted.facts(), GAINS, components=(0, 1), criterion=criterion)
    curve = found.curve(criterion, half="choosing")
    assert found.gain == curve["gain"][curve["value"].to_numpy().argmin()]


@pytest.mark.parametrize("family", FAMILIES)
def test_gains_are_what_ablation_and_the_plain_run_give(family: str) -> None:
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)
    weights = model.weight_hash
    last = model.n_layers - 1
    parts = [(last, 1), f"mlp {last}"]
    found = fv.mitigate(model, FACTS, [0, 1], components=parts, n_boot=5).dataset
    gone = fv.ablate(model, FACTS, parts, mode="zero", controls=0).probability.values
    np.testing.assert_allclose(found["probability"].values[:, 0], gone[:, 0], atol=1e-6)
    np.testing.assert_allclose(found["probability"].values[:, 1], gone[:, 1], atol=1e-6)
    assert np.abs(gone[:, 1] - gone[:, 0]).max() > 1e-5
    assert (found["probability"].values[:, 2] == found["probability"].values[:, 0]).all()
    assert model.weight_hash == weights


@pytest.mark.parametrize(
    ("gains", "options", "words"),
    [
        ([], {}, "no gains were given"),
        ([0.5, 1.2], {}, r"gain 1.2 is outside \[0, 1\]"),
        ([-0.1], {}, r"gain -0.1 is outside"),
        ([float("nan")], {"allow_outside": True}, "gain nan is not finite"),
        ([float("inf")], {}, "not finite"),
        (["0.5"], {}, "gain '0.5' is no number"),
        ([True], {}, "gain True is no number"),
        (0.5, {}, "gains must be a list"),
        ("0.5", {}, "gains must be a list"),
        ([0.5], {"components": "L0H7"}, "head 7 does not exist"),
        ([0.5], {"components": "mlp 3"}, "layer 3 does not exist"),
        ([0.5], {"components": "nose 1"}, "'nose 1' is not understood"),
        ([0.5], {"components": {"a": ["L0H0"], "b": ["L0H1"]}}, "2 sets of components"),
        ([0.5], {"criterion": "luck"}, "criterion 'luck' is unknown"),
        ([0.5], {"bins": 0}, "bins=0 is too few"),
        ([0.5], {"components": "mlp 0"}, "left every tensor as it was"),
    ],
)
def test_bad_input(model: fv.FactModel, gains: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(fv.FactvizError, match=words):
        fv.mitigate(model, planted.facts(), gains, **options)


def test_gains_outside_where_they_are_allowed(model: fv.FactModel) -> None:
    found = fv.mitigate(
        model, planted.facts(), [-1, 2, 2], components=(0, 1), allow_outside=True, controls=0
    )
    assert found.dataset["gain"].values[1:3].tolist() == [-1, 2]
    assert found.gain == -1 and found.provenance["control"] == "none"


def test_an_interrupt_leaves_what_was_finished(
    model: fv.FactModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = GainRuns._one
    stop_after = {"left": 12}

    def stopping(self: GainRuns, fact: int) -> None:
        stop_after["left"] -= 1
        if stop_after["left"] < 0:
            raise KeyboardInterrupt
        own(self, fact)

    weights = model.weight_hash
    monkeypatch.setattr(GainRuns, "_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        fv.mitigate(model, planted.facts(), GAINS, components=(0, 1))
    found = fv.partial_result()
    assert isinstance(found, fv.Mitigation) and found.provenance["partial"]
    assert (found.dataset["half"].values == "judging").sum() == 4
    assert found.gain == 0 and model.weight_hash == weights


def test_facts_that_can_t_be_split(model: fv.FactModel) -> None:
    with pytest.raises(fv.FactvizError, match=r"1 subject .* can't be halved"):
        fv.mitigate(model, planted.facts()[0], [0.5], components=(0, 1))
    with pytest.raises(fv.FactvizError, match=r"choosing half, 1 facts: 1 subject .* components="):
        fv.mitigate(model, planted.facts()[:2], [0.5])
    bare = [fact.replace(same_relation=()) for fact in planted.facts()]
    with pytest.raises(fv.FactvizError, match=r"choosing half, 8 facts: none .* has R"):
        fv.mitigate(model, bare, [0.5])
    assert fv.mitigate(model, bare, [0.5], components=(0, 1)).dataset.sizes["fact"] == 16
