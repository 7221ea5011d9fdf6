"""Attention knockout: the paper's own numbers, the edges of windows and sets, and directions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.analysis.windows import odd, scaled
from factviz.models.interventions import ReplaceHead
from factviz.models.runs import run
from tests.families import tiny_model, tiny_tokenizer

TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
FACTS = [
    fv.Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r"),
    fv.Fact("w21 w22 w23", "w21", "w33", relation="r"),
    fv.Fact("w40 w41 w42 w43", "w40 w41", "w51", relation="q"),
]


@cache
def tiny(family: str = "gpt2", bos: bool = True) -> fv.FactModel:
    return fv.load_model(
        tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=bos, name="tiny"
    )


def _expected(shared: Path) -> tuple[dict[str, Any], list[fv.Fact]]:
    expected = json.loads((shared / "expected" / "expected.json").read_text(encoding="utf-8"))
    facts = [
        fv.Fact(" ".join(f"w{i}" for i in ids[1:]), " ".join(f"w{i}" for i in ids[2:5]), "w1")
        for ids in expected["prompt_token_ids"]
    ]
    return expected, facts


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_papers_own_numbers(shared: Path, dtype: str) -> None:
    expected, facts = _expected(shared)
    model = fv.load_model(str(shared / "expected" / "model"), dtype=dtype)
    assert list(model.tokenize(facts[0]).ids) == expected["prompt_token_ids"][0]
    found = fv.knock_out_attention(model, facts, window=(1, 3))
    close: dict[str, Any] = {"rtol": 0, "atol": TOLERANCE[dtype]}
    for width in (1, 3):
        for fact, known in enumerate(expected["attention_knockout"]["values"][f"window_{width}"]):
            base = known["p_base"]
            assert int(found.dataset["target_id"][fact]) == known["top1"]
            np.testing.assert_allclose(float(found.base[fact]), base, **close)
            for group in ("subject", "non_subject", "last"):
                at = {"window": width, "group": group, "fact": fact}
                wanted = np.array(known[group])
                np.testing.assert_allclose(found.probability.sel(at), wanted, **close)
                percent = 100 * (wanted - base) / base
                np.testing.assert_allclose(
                    found.change.sel(at), percent, rtol=0, atol=1000 * close["atol"]
                )
    frame = found.to_frame()
    assert list(frame.columns[:5]) == ["fact", "group", "layer", "probability", "change"]
    row = frame.query("fact == 1 and group == 'last' and layer == 2 and window == 3").iloc[0]
    wanted = expected["attention_knockout"]["values"]["window_3"][1]["last"][2]
    np.testing.assert_allclose(row["probability"], wanted, **close)


def test_the_default_window_is_odd_and_said() -> None:
    layers = (1, 4, 6, 12, 16, 24, 32, 48, 96)
    widths = [odd(scaled(9, count)) for count in layers]
    assert widths == [1, 1, 1, 3, 3, 5, 7, 9, 19]
    found = fv.knock_out_attention(tiny(), FACTS[0])
    assert found.provenance["window"] == [1] and "the default" in found.provenance["window_rule"]
    wide = fv.knock_out_attention(tiny(), FACTS[0], window=3)
    assert "the default" not in wide.provenance["window_rule"]


def test_windows_are_cut_at_both_ends_and_may_be_wider_than_the_model() -> None:
    """Three layers: each window by hand, as sets of layers that are blocked one by one."""
    model, end = tiny(), 5
    found = fv.knock_out_attention(model, FACTS[0], window=(2, 3, 4, 50), groups=("subject",))
    by_hand = {2: [[0], [0, 1], [1, 2]], 3: [[0, 1], [0, 1, 2], [1, 2]]}
    by_hand |= {4: [[0, 1], [0, 1, 2], [0, 1, 2]], 50: [[0, 1, 2]] * 3}
    from factviz.models.interventions import BlockAttention

    for width, windows in by_hand.items():
        runs = run(model, FACTS[0], [[BlockAttention([end], [2, 3], w)] for w in windows])
        np.testing.assert_allclose(
            found.probability.sel(window=width, group="subject"),
            runs.probability(runs.top).double(),
            atol=1e-6,
        )
    assert float(found.probability.std()) > 1e-4


def test_blocking_everything_is_a_zero_update() -> None:
    """As if no head had written: with every head's output replaced by zeros."""
    model = tiny()
    found = fv.knock_out_attention(model, FACTS[0], window=1, groups={"all": range(6)}, controls=2)
    silent = [
        [ReplaceHead(layer, head, [-1], scale=0.0) for head in range(model.n_heads)]
        for layer in range(model.n_layers)
    ]
    runs = run(model, FACTS[0], silent)
    np.testing.assert_allclose(found.probability[0], runs.probability(runs.top), atol=1e-6)
    assert np.isfinite(found.probability.values).all()
    assert np.isnan(found.control.values).all()  # no other set of that size


def test_hiding_what_end_cannot_see_changes_nothing() -> None:
    """Mistral's windows here hold four positions: the prompt's first token is out of sight."""
    found = fv.knock_out_attention(tiny("mistral"), FACTS[0], groups={"first": [0]}, controls=0)
    np.testing.assert_array_equal(found.probability.values, float(found.base))
    near = fv.knock_out_attention(tiny("mistral"), FACTS[0], groups={"near": [4]}, controls=0)
    assert (np.abs(near.change.values) > 1e-3).all()


def test_tokens_are_the_sets_of_one() -> None:
    found = fv.knock_out_attention(
        tiny(), FACTS[0], groups={f"p{i}": [i] for i in range(6)}, window=3
    )
    assert found.tokens.dims == ("layer", "position")
    np.testing.assert_allclose(found.tokens.values.T, found.probability.values, atol=1e-7)
    several = fv.knock_out_attention(tiny(), FACTS, tokens=True)
    assert np.isnan(several.tokens.values[1, :, 4:]).all()
    assert np.isfinite(several.tokens.values[1, :, :4]).all()
    bare = fv.knock_out_attention(tiny(), FACTS)
    with pytest.raises(fv.FactvizError, match="tokens=True"):
        _ = bare.tokens


def test_own_sets_count_from_either_end() -> None:
    named = fv.knock_out_attention(tiny(), FACTS[0], groups=("subject", "last"))
    own = fv.knock_out_attention(
        tiny(), FACTS[0], groups={"subject": [-3, -4], "last": np.array([5])}
    )
    np.testing.assert_array_equal(named.probability.values, own.probability.values)
    each = [{"a": [1]}, {"a": [2], "b": [1]}, {"b": [3]}]
    found = fv.knock_out_attention(tiny(), FACTS, groups=each)
    missing = np.isnan(found.probability.sel(layer=0))
    assert missing.values.tolist() == [[False, True], [False, False], [True, False]]
    assert len(found.to_frame()) == 4 * 3
    assert any("no position in 'b'" in note for note in found.provenance["notes"])


def test_the_target() -> None:
    model = tiny()
    top = fv.knock_out_attention(model, FACTS[0])
    answer = fv.knock_out_attention(model, FACTS[0], target="answer")
    token = fv.knock_out_attention(model, FACTS[0], target=11)
    assert top.dataset["target_token"].item() == model.predict(FACTS[0], 1)["token"][0]
    assert answer.dataset["target_id"].item() == 11
    np.testing.assert_array_equal(answer.probability.values, token.probability.values)
    assert np.abs(answer.probability - top.probability).max() > 1e-3
    said = " ".join(top.provenance["notes"])
    assert "top-1 is not the answer" in said and "'w11'" in said
    assert "P(" in repr(top) and "top-1" in top.provenance["target"]
    assert "the answer" in answer.provenance["target"]


def test_a_long_sweep_keeps_one_logit_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.analysis import attention_sweep

    whole = fv.knock_out_attention(tiny(), FACTS)
    monkeypatch.setattr(attention_sweep, "_NUMBERS", 1)
    narrow = fv.knock_out_attention(tiny(), FACTS)
    assert whole.dataset.identical(narrow.dataset)


def test_controls_are_as_many_random_keys_elsewhere() -> None:
    model = tiny()
    once = fv.knock_out_attention(model, FACTS, controls=2, seed=3)
    again = fv.knock_out_attention(model, FACTS, controls=2, seed=3)
    other = fv.knock_out_attention(model, FACTS, controls=2, seed=4)
    assert once.dataset.identical(again.dataset)
    assert np.abs(once.control - other.control).max() > 1e-4
    # The others do not change a fact's draws.
    alone = fv.knock_out_attention(model, FACTS[0], controls=2, seed=3)
    np.testing.assert_allclose(alone.control.values, once.control.values[0], atol=1e-6)
    none = fv.knock_out_attention(model, FACTS, controls=0)
    with pytest.raises(fv.FactvizError, match="controls=1"):
        _ = none.control
    assert none.to_frame()["control"].isna().all() and "control" not in none.curves()
    assert none.provenance["control"] == "none"


def test_curves_are_means_with_bands_over_subjects() -> None:
    found = fv.knock_out_attention(tiny(), FACTS)
    curves = found.curves(n_boot=300, seed=1)
    change = found.change.values
    by_hand = (change[:2].mean(0) + change[2]) / 2  # two relations, which count alike
    np.testing.assert_allclose(curves["mean"].values, by_hand, atol=1e-9)
    assert (curves["low"] <= curves["mean"]).all() and (curves["mean"] <= curves["high"]).all()
    assert float((curves["high"] - curves["low"]).max()) > 0.1
    assert curves["mean"].dims == ("group", "layer")
    xr_equal = found.curves(n_boot=300, seed=1)
    assert curves.identical(xr_equal)
    one = fv.knock_out_attention(tiny(), FACTS[0])
    assert np.isnan(one.curves()["low"]).all()
    np.testing.assert_allclose(one.curves()["mean"], one.change)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window=0 holds no layer"),
        ({"window": -3}, "window=-3"),
        ({"window": 1.5}, "window=1.5"),
        ({"window": True}, "window=True"),
        ({"window": ()}, "one width"),
        ({"window": (1, 1)}, "several different"),
        ({"groups": ()}, "no groups"),
        ({"groups": {}}, "no groups"),
        ({"groups": ("subjet",)}, "unknown group 'subjet'"),
        ({"groups": {"a": []}}, "holds no positions"),
        ({"groups": {"a": 3}}, "give a list"),
        ({"groups": {"a": [1, 6]}}, "names position 6; the prompt of fact 0 has 0 to 5"),
        ({"groups": {"a": [-7]}}, "names position -7"),
        ({"groups": {"a": ["1"]}}, "names position '1'"),
        ({"groups": {"a": [1, 2], "b": [2, 3]}}, "may not overlap"),
        ({"groups": {"a": [5, -1]}}, "may not overlap"),
        ({"groups": [{"a": [1]}, {"a": [1]}]}, "2 groupings for 1 facts"),
        ({"groups": ("prefix",)}, "'prefix' is empty"),
        ({"target": "top2"}, "target 'top2' is unknown"),
        ({"target": 61}, "target token 61"),
        ({"controls": -1}, "controls=-1"),
    ],
)
def test_bad_input_is_refused(options: Any, words: str) -> None:
    with pytest.raises(fv.FactvizError) as caught:
        fv.knock_out_attention(tiny(), FACTS[0], **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_subject_at_position_0_without_bos() -> None:
    fact = fv.Fact("w16 w17 w7 w9", "w16 w17", "w11")
    found = fv.knock_out_attention(tiny(bos=False), fact)
    assert found.dataset["blocked"].values[0].tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert np.isfinite(found.probability.values).all()
    with pytest.raises(fv.FactvizError, match="'non_subject' is empty"):  # subject and END only
        fv.knock_out_attention(tiny(bos=False), fv.Fact("w16 w17 w7", "w16 w17", "w11"))


def test_a_prompt_of_one_token() -> None:
    fact = fv.Fact("w16", "w16", "w11")
    with_bos = fv.knock_out_attention(tiny(), fact)
    assert with_bos.dataset["blocked"].values[0].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert np.isfinite(with_bos.probability.values).all()
    with pytest.raises(fv.FactvizError, match="'non_subject' is empty"):
        fv.knock_out_attention(tiny(bos=False), fact)
    alone = fv.knock_out_attention(tiny(bos=False), fact, groups=("last",))
    assert np.isfinite(alone.probability.values).all() and np.isnan(alone.control.values).all()


def test_nan_logits_are_refused_with_the_facts_number() -> None:
    plain = tiny_model("neox-parallel")  # untied: NaN in a row of the embedding is in that token
    model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
    with torch.no_grad():
        model.network.get_input_embeddings().weight[22] = torch.nan  # only in the second fact
    with pytest.raises(fv.FactvizError, match=r"fact 1 \('w21 w22 w23'\).*NaN"):
        fv.knock_out_attention(model, FACTS)


def test_an_interrupt_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.models import runs as engine

    whole = fv.knock_out_attention(tiny(), FACTS, controls=0)
    real, calls = engine.ChangedRuns, [0]

    def interrupted(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 14:  # 9 variants a fact, one a chunk: in the middle of the second
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(engine, "ChangedRuns", interrupted)
    monkeypatch.setattr(engine, "_ROWS", 1)
    with pytest.raises(KeyboardInterrupt) as caught:
        fv.knock_out_attention(tiny(), FACTS, controls=0)
    part = caught.value.partial
    assert part is fv.partial_result()
    assert any("fv.partial_result()" in note for note in caught.value.__notes__)
    assert part.provenance["partial"] is True and "partial" in repr(part)
    assert "interrupted" in " ".join(part.provenance["notes"])
    assert "partial" not in whole.provenance and "partial" not in repr(whole)
    assert part.dataset.sizes["fact"] == 2 and len(part.provenance["prompt_tokens"]) == 2
    known = ~np.isnan(part.probability.values)
    assert known.sum() == 13
    np.testing.assert_allclose(
        part.probability.values[known], whole.probability.values[:2][known], atol=1e-6
    )
    assert len(part.to_frame()) == 13
    assert "interrupted" in part._repr_mimebundle_()["text/html"]


def test_an_interrupt_before_the_first_row_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.analysis import partial
    from factviz.models import runs as engine

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(partial, "_kept", [])
    monkeypatch.setattr(engine, "ChangedRuns", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fv.knock_out_attention(tiny(), FACTS)
    assert not hasattr(caught.value, "partial")
    with pytest.raises(fv.FactvizError, match="no partial result"):
        fv.partial_result()


@cache
def _known(model: fv.FactModel) -> fv.FactSet:
    return fv.FactSet.builtin()[::211].known(model, top_k=1)


def test_directions_on_mini(mini: fv.FactModel) -> None:
    """As in MINI.md: the relation is read first, in layer 0, the subject in layers 1 to 3."""
    found = fv.knock_out_attention(mini, _known(mini), groups=("subject", "relation"), controls=1)
    assert found.dataset.sizes["fact"] > 30
    curves = found.curves()
    # More than what as many random keys cost there: in layer 0 those hit the relation.
    beyond = (curves["mean"] - curves["control"]).idxmin("layer")
    layers = {group: int(beyond.sel(group=group)) for group in ("relation", "subject")}
    assert layers["relation"] == 0 and 1 <= layers["subject"] <= 3
    for group, least in (("relation", -25), ("subject", -15)):
        at = curves.sel(group=group, layer=layers[group])
        assert float(at["mean"]) < least and float(at["high"]) < float(at["control_low"])
    assert float(np.abs(curves["mean"].sel(group="relation")[2:]).max()) < 5


def test_a_wider_window_costs_more_on_mini(mini: fv.FactModel) -> None:
    found = fv.knock_out_attention(
        mini, _known(mini)[:12], groups=("subject",), window=(1, 3), controls=0
    )
    worst = found.curves()["mean"].min("layer").values[:, 0]
    assert worst[1] < worst[0] - 10
