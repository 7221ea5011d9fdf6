"""Sublayer knockout: the paper's own numbers, both modes, both outcomes, and directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.late_rate import late_block
from factviz.analysis.sublayer_sweep import default_window
from factviz.models.interventions import ReplaceSublayer
from factviz.models.runs import run
from tests.analysis.test_attention_knockout import TOLERANCE, _expected, _known, tiny

FACTS = [
    fv.Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r", same_subject=("w12", "w13")),
    fv.Fact("w21 w22 w23", "w21", "w33", relation="r", same_subject=("w34",)),
    fv.Fact("w40 w41 w42 w43", "w40 w41", "w51", relation="q"),
]
# Words of two characters do not count: of "w10" to "w60" all do.
WORDS = [f"w{i}" for i in range(10, 60)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_papers_own_numbers(shared: Path, dtype: str) -> None:
    expected, facts = _expected(shared)
    model = fv.load_model(str(shared / "expected" / "model"), dtype=dtype)
    mlps = expected["mlp_cancel_last_subject"]["values"]
    attention = expected["attention_cancel_last_subject_zero"]["values"]
    known = {
        "zero": {"mlp": mlps["zero (whole update removed)"], "attention": attention},
        "reference": {"mlp": mlps["reference (pre-activation zeroed, output bias stays)"]},
    }
    for mode, wanted in known.items():
        found = fv.knock_out_sublayers(model, facts, window=2, mode=mode)
        for sublayer, values in wanted.items():
            np.testing.assert_allclose(
                found.outcome.sel(sublayer=sublayer), values, rtol=0, atol=TOLERANCE[dtype]
            )
            base = np.array([row[-1] for row in values])  # behind the last layer END sees nothing
            np.testing.assert_allclose(found.base, base, rtol=0, atol=TOLERANCE[dtype])
            assert np.abs(found.change.sel(sublayer=sublayer)[:, :-1]).min() > 1e-3
    frame = found.to_frame()
    assert list(frame.columns[:5]) == ["fact", "sublayer", "layer", "outcome", "change"]


def test_reference_leaves_more_of_the_update() -> None:
    """The MLP's bias, and an average of what can be seen: neither is a removal."""
    zero = fv.knock_out_sublayers(tiny(), FACTS[0], mode="zero")
    reference = fv.knock_out_sublayers(tiny(), FACTS[0], mode="reference")
    assert (np.abs(zero.outcome - reference.outcome)[:, :-1] > 1e-6).all()
    assert zero.provenance["mode"].startswith("zero: the whole update removed")
    assert reference.provenance["mode"].startswith("reference: neuron")


def test_windows_start_at_their_layer_and_are_cut_at_the_end() -> None:
    by_hand = {1: [[0], [1], [2]], 2: [[0, 1], [1, 2], [2]], 9: [[0, 1, 2], [1, 2], [2]]}
    for width, windows in by_hand.items():
        found = fv.knock_out_sublayers(tiny(), FACTS[0], at="end", window=width)
        variants = [[ReplaceSublayer("mlp", at, [-1], scale=0.0) for at in w] for w in windows]
        runs = run(tiny(), FACTS[0], variants)
        np.testing.assert_allclose(
            found.outcome.sel(sublayer="mlp"), runs.probability(runs.top).double(), atol=1e-6
        )
    assert [default_window(count) for count in (1, 4, 6, 12, 48)] == [1, 1, 1, 2, 10]


def test_where() -> None:
    found = fv.knock_out_sublayers(tiny(), FACTS[0], tokens=True, at=("subject_last", -1))
    assert found.dataset["cancelled"].values[0].tolist() == [0, 0, 0, 1, 0, 1]
    assert found.tokens.dims == ("sublayer", "layer", "position")
    one = fv.knock_out_sublayers(tiny(), FACTS[0], at=3)
    np.testing.assert_allclose(found.tokens.sel(position=3), one.outcome, atol=1e-7)
    named = fv.knock_out_sublayers(tiny(), FACTS[0])
    assert one.dataset["outcome"].identical(named.dataset["outcome"])
    with pytest.raises(fv.FactvizError, match="tokens=True"):
        _ = one.tokens


def test_the_attributes_rate_is_counted_in_the_late_state() -> None:
    """Recounted with the state of a run in which the same updates are removed."""
    from factviz.analysis.attributes_rate import top_tokens
    from factviz.analysis.vocabularies import kept_tokens
    from factviz.models.interventions import Keep

    model, vocabulary = tiny(), WORDS[:20]
    found = fv.knock_out_sublayers(
        model, FACTS[0], outcome="attributes_rate", vocabulary=vocabulary, top_k=7, block=1
    )
    clean = fv.attributes_rate(model, FACTS[0], vocabulary=vocabulary, top_k=7)
    wanted = float(clean.precision.sel(position="subject_last", layer=1))
    assert float(found.base) == wanted and wanted > 0
    ids = {11 + i for i in range(-1, 19)}
    for layer in range(3):
        variant = [ReplaceSublayer("attention", layer, [3], scale=0.0)]
        kept = run(model, FACTS[0], [variant], keep=[Keep("state", [3], [2])]).kept[0][0, 0]
        tops = top_tokens(model, kept, kept_tokens(model), 7)[0]
        rate = sum(int(t) in ids for t in tops) / 7
        assert float(found.outcome.sel(sublayer="attention", layer=layer)) == pytest.approx(rate)
    # Behind the block that is read nothing can matter.
    np.testing.assert_array_equal(found.outcome.sel(layer=2), wanted)
    assert found.measure == "attributes_rate" and found.provenance["block"] == 1
    assert "attributes of the subject" in repr(found)


def test_curves_of_rates_are_changes_of_the_mean() -> None:
    found = fv.knock_out_sublayers(
        tiny(), FACTS, outcome="attributes_rate", vocabulary=WORDS[:25], top_k=9, block=1
    )
    outcome, base = found.outcome.values, found.base.values
    assert (base > 0).all() and base.std() > 0
    change = 100 * (outcome - base[:, None, None]) / base.mean()
    by_hand = (change[:2].mean(0) + change[2]) / 2
    np.testing.assert_allclose(found.curves()["mean"], by_hand, atol=1e-9)
    percent = 100 * (outcome - base[:, None, None]) / base[:, None, None]
    np.testing.assert_allclose(found.change, percent, atol=1e-9)


def test_the_late_block_is_40_of_48() -> None:
    class Layers:
        def __init__(self, count: int) -> None:
            self.n_layers = count

    found = [late_block(Layers(count), None) for count in (1, 3, 6, 12, 48)]  # type: ignore[arg-type]
    assert found == [0, 2, 5, 10, 40]


def test_controls_are_elsewhere_and_earlier_where_a_state_is_read() -> None:
    model = tiny()
    found = fv.knock_out_sublayers(model, FACTS, controls=3)
    assert np.isfinite(found.control.values[0]).all()
    assert fv.knock_out_sublayers(model, FACTS, controls=3).dataset.identical(found.dataset)
    rate = fv.knock_out_sublayers(
        model, FACTS, outcome="attributes_rate", vocabulary=WORDS, block=1, top_k=5
    )
    assert np.isfinite(rate.control.values).all()
    bare = tiny(bos=False)
    alone = fv.knock_out_sublayers(
        bare, fv.Fact("w21 w22 w23", "w21", "w33"), outcome="attributes_rate", vocabulary=WORDS
    )
    assert np.isnan(alone.control.values).all()
    assert any("no control" in note for note in alone.provenance["notes"])


@pytest.mark.parametrize("mode", ["zero", "reference"])
def test_a_subject_at_position_0_without_bos(mode: str) -> None:
    """It sees itself only, so uniform attention is the attention it has."""
    fact = fv.Fact("w16 w17 w7", "w16", "w11")
    found = fv.knock_out_sublayers(tiny(bos=False), fact, mode=mode)
    same = np.abs(found.change.sel(sublayer="attention").values[:-1]) < 1e-4
    assert same.all() == (mode == "reference")
    assert (np.abs(found.change.sel(sublayer="mlp").values[:-1]) > 1e-4).all()


def test_a_prompt_of_one_token() -> None:
    fact = fv.Fact("w16", "w16", "w11")
    for bos in (True, False):
        found = fv.knock_out_sublayers(tiny(bos=bos), fact)
        assert found.dataset["cancelled"].values[0].tolist() == [0] * bos + [1]
        assert np.isfinite(found.outcome.values).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window=0 holds no layer"),
        ({"window": 2.0}, "window=2.0"),
        ({"window": (1, 2)}, "window=(1, 2)"),
        ({"mode": "mean"}, "mode 'mean' is unknown"),
        ({"outcome": "logit"}, "outcome 'logit' is unknown"),
        ({"target": "best"}, "target 'best' is unknown"),
        ({"at": "subjet"}, "'subjet' is unknown"),
        ({"at": 6}, "6"),
        ({"at": ()}, "empty set"),
        ({"block": 3}, "block and vocabulary belong to outcome='attributes_rate'"),
        (
            {"block": 3, "outcome": "attributes_rate"},
            "block 3 does not exist: the model has 0 to 2",
        ),
        ({"top_k": 0, "outcome": "attributes_rate"}, "top_k=0"),
        ({"vocabulary": ["w5"], "outcome": "attributes_rate"}, "no attribute"),
        ({"controls": -2}, "controls=-2"),
    ],
)
def test_bad_input_is_refused(options: Any, words: str) -> None:
    with pytest.raises(fv.FactvizError) as caught:
        fv.knock_out_sublayers(tiny(), FACTS[0], **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_interrupt_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.models import runs as engine

    options: dict[str, Any] = {"outcome": "attributes_rate", "vocabulary": WORDS, "controls": 0}
    whole = fv.knock_out_sublayers(tiny(), FACTS, **options)
    real, calls = engine.ChangedRuns, [0]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 9:  # 6 variants a fact
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(engine, "ChangedRuns", interrupted)
    monkeypatch.setattr(engine, "_ROWS", 1)
    with pytest.raises(KeyboardInterrupt) as caught:
        fv.knock_out_sublayers(tiny(), FACTS, **options)
    part = caught.value.partial
    known = ~np.isnan(part.outcome.values)
    assert known.sum() == 8 == len(part.to_frame()) and part.provenance["partial"]
    np.testing.assert_allclose(part.outcome.values[known], whole.outcome.values[:2][known])


def test_directions_on_mini(mini: fv.FactModel) -> None:
    """The subject is enriched early: layer 0's updates cost most, late ones nothing."""
    found = fv.knock_out_sublayers(mini, _known(mini), controls=1)
    curves = found.curves()
    for sublayer in ("attention", "mlp"):
        mean = curves["mean"].sel(sublayer=sublayer)
        assert int(mean.argmin("layer")) == 0 and float(mean[0]) < -5
        assert float(np.abs(mean[3:]).max()) < 3
        at = {"sublayer": sublayer, "layer": 0}
        assert float(curves["high"].sel(at)) < float(curves["control_low"].sel(at))


def test_cancelling_early_updates_lowers_the_rate_on_mini(mini: fv.FactModel) -> None:
    """As in the paper: without them the subject's state names far fewer attributes.

    Not as in the paper: attention's cost more than the MLPs', for only attention brings the pieces
    of a name together.
    """
    found = fv.knock_out_sublayers(
        mini, _known(mini), window=6, outcome="attributes_rate", block=3, controls=1
    )
    curves = found.curves()
    first, beyond = curves.sel(layer=0), curves["mean"] - curves["control"]
    assert (first["high"] < first["control_low"]).all()
    assert (beyond.idxmin("layer") == 0).all()
    attention, mlp = (float(first["mean"].sel(sublayer=s)) for s in ("attention", "mlp"))
    assert attention < -20 and attention < mlp - 20
    assert json.dumps(found.provenance)
