"""The causal verbs: against plain hooks on families, beside their controls, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.results.causal import Causal
from tests.analysis.causal_cases import END, FAMILIES, IDS, SUBJECT, Case, fact, rows
from tests.interventions.plain import blocked, changed

CLOSE = 2e-5
OTHER = [0, 5, 17, 33, 8, 41, 44, 9, 55, 3]
THIRD = [0, 7, 17, 33, 8, 41, 30, 2, 51, 3]


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="module")
def gpt2() -> Case:
    return Case("gpt2")


def _agree(result: Causal, plain: list[tuple[float, float, int]], base: Any) -> None:
    np.testing.assert_allclose(rows(result, "base"), [base], atol=CLOSE, rtol=0)
    np.testing.assert_allclose(rows(result, "intervened"), plain, atol=CLOSE, rtol=0)
    assert (abs(np.array(plain)[:, 1] - base[1]) > 20 * CLOSE).all()


def test_blocked_attention_is_the_plain_models(case: Case) -> None:
    one = fact()
    layers = range(case.layers)
    for queries, keys, at in [
        ("end", "subject", None),
        ("end", [5, -1], [0, 1]),
        (["relation", "end"], "subject", 1),
    ]:
        result = fv.block_attention(case.model, one, queries, keys, at)
        asking = [END] if queries == "end" else [1, 2, 3, 4, 5, 8, END]
        read = SUBJECT if keys == "subject" else [5, END]
        where = layers if at is None else [at] if isinstance(at, int) else at
        plain = case.measured(21, blocked(asking, read, list(where)))
        _agree(result, [plain], case.measured(21))


@pytest.mark.parametrize("mode", ["mean", "zero"])
def test_ablations_are_the_plain_models(case: Case, mode: Any) -> None:
    facts = [fact(ids) for ids in (IDS, OTHER, THIRD)]
    components = ["L1H2", (2, 0), "mlp 1", ("attn", 0)]
    result = fv.ablate(case.model, facts, components, mode=mode, separately=True, controls=1)
    assert result.components == ["L1H2", "L2H0", "MLP 1", "attention 0"]

    def mean(place: str, layer: int) -> torch.Tensor:
        each = [case.seen(place, layer, [END], ids=ids)[0] for ids in (IDS, OTHER, THIRD)]
        return torch.stack(each).mean(0) * (mode == "mean")

    def head(layer: int, number: int) -> Any:
        whole = mean("heads", layer)
        width = len(whole) // case.model.n_heads
        value = whole[number * width : (number + 1) * width]
        return case.head(layer, number, [END], lambda before: value.expand_as(before))

    mlp, attention = mean("mlp", 1), mean("attention", 0)
    changes = [
        head(1, 2),
        head(2, 0),
        changed("mlp", 1, [END], lambda before: mlp.expand_as(before)),
        changed("attention", 0, [END], lambda before: attention.expand_as(before)),
    ]
    _agree(result, [case.measured(21, change) for change in changes], case.measured(21))
    together = fv.ablate(case.model, facts, components, mode=mode, controls=0)
    assert together.components == ["L1H2 + L2H0 + MLP 1 + attention 0"]
    _agree(together, [case.measured(21, *changes)], case.measured(21))


def test_patched_heads_are_the_plain_models(case: Case) -> None:
    other = fact(OTHER, answer=30)
    result = fv.patch_heads(case.model, fact(), other, {"two": ["L0H1", "L1H3"]}, at=[-2, -1])
    plain = []
    for layer, head in ((0, 1), (1, 3)):
        whole = case.seen("heads", layer, [END - 1, END], ids=OTHER)
        width = whole.shape[1] // case.model.n_heads
        value = whole[:, head * width : (head + 1) * width]
        plain.append(case.head(layer, head, [END - 1, END], lambda _, v=value: v))
    _agree(result, [case.measured(21, *plain)], case.measured(21))
    found = result.to_frame()
    assert found["source_probability"][1] == pytest.approx(case.measured(30, *plain)[0], abs=CLOSE)


def test_patched_states_are_the_plain_models(case: Case) -> None:
    other = fact(OTHER)
    result = fv.patch_states(case.model, fact(), other, at="subject", layers=[0, 2])
    plain = []
    for layer in (0, 2):
        value = case.seen("state", layer, SUBJECT, ids=OTHER)
        plain.append(case.measured(21, changed("state", layer, SUBJECT, lambda _, v=value: v)))
    _agree(result, plain, case.measured(21))
    early = fv.patch_states(case.model, fact(), at="subject", depths=[0, 1])
    assert early.components == ["state 0 kept", "state 1 kept"]
    plain = []
    for depth in (0, 1):
        value = case.seen("state", depth, SUBJECT)
        above = range(depth + 1, case.layers)
        changes = [changed("state", layer, SUBJECT, lambda _, v=value: v) for layer in above]
        plain.append(case.measured(21, *changes))
    _agree(early, plain, case.measured(21))


def test_runs_are_base_then_effects_then_controls(gpt2: Case) -> None:
    result = fv.ablate(gpt2.model, fact(), ["L0H0", "L1H1"], mode="zero", separately=True)
    frame = result.to_frame()
    assert list(frame.columns[:7]) == [
        "fact", "variant", "probability", "logit", "rank", "component", "change",
    ]  # fmt: skip
    assert frame["variant"].tolist() == ["base"] + ["intervened"] * 2 + ["control"] * 6
    assert frame["component"].tolist() == ["", "L0H0", "L1H1"] + ["L0H0"] * 3 + ["L1H1"] * 3
    assert frame["draw"].tolist() == [-1, -1, -1, 0, 1, 2, 0, 1, 2]
    base = frame["probability"][0]
    np.testing.assert_allclose(frame["change"], 100 * (frame["probability"] - base) / base)
    assert result.probability.dims == ("run",)
    control = frame[(frame["variant"] == "control") & (frame["component"] == "L0H0")]
    three = {gpt2.measured(21, gpt2.head(0, h, [END], torch.zeros_like))[0] for h in (1, 2, 3)}
    assert all(min(abs(p - q) for q in three) < CLOSE for p in control["probability"])


def test_the_control_of_a_block_is_as_many_other_keys(gpt2: Case) -> None:
    result = fv.block_attention(gpt2.model, fact(), "end", "subject", controls=20)
    inner = [p for p in range(1, END) if p not in SUBJECT]
    pairs = [[a, b] for a in inner for b in inner if a < b]
    possible = [gpt2.measured(21, blocked([END], p, range(3)))[0] for p in pairs]
    drawn = rows(result, "control")[:, 0]
    assert len(drawn) == 20 and len(set(drawn.round(6))) > 3
    assert all(min(abs(p - q) for q in possible) < CLOSE for p in drawn)


def test_draws_are_seeded_and_do_not_depend_on_other_facts(gpt2: Case) -> None:
    def drawn(facts: Any, seed: int = 0) -> Any:
        return rows(fv.block_attention(gpt2.model, facts, "end", "subject", seed=seed), "control")

    first = drawn(fact())
    np.testing.assert_array_equal(first, drawn([fact(), fact(OTHER)]))
    assert not np.array_equal(first, drawn(fact(), seed=1))


def test_blocking_nothing_or_the_future_changes_nothing(gpt2: Case) -> None:
    with pytest.raises(fv.FactvizError, match="allow_idle=True"):
        fv.block_attention(gpt2.model, fact(), 3, [5, 6])
    result = fv.block_attention(gpt2.model, fact(), 3, [5, 6], allow_idle=True)
    base, effect = rows(result, "base"), rows(result, "intervened")
    np.testing.assert_allclose(effect, base, atol=1e-6)
    # Blocking all that END reads is a zero update: a number, and another one than before.
    everything = fv.block_attention(gpt2.model, fact(), "end", "all", controls=1)
    assert np.isfinite(rows(everything, "intervened")).all()
    assert len(rows(everything, "control")) == 0
    assert any("no control for facts 0" in note for note in everything.provenance["notes"])


def test_a_counterfactual_that_differs_nowhere_is_an_error(gpt2: Case) -> None:
    model = gpt2.model
    for verb, facts, others, more in (
        (fv.patch_heads, fact(), [fact(), (0, 1)], {}),
        (fv.patch_states, fact(), [fact()], {}),
        (fv.ablate, [fact(), fact()], [(0, 1)], {}),
        (fv.patch_states, fact(), [fact(OTHER)], {"at": "end", "layers": 0}),
    ):
        with pytest.raises(fv.FactvizError, match=r"changes nothing|nothing changes"):
            verb(model, facts, *others, **more)
        idle = verb(model, facts, *others, **more, allow_idle=True)
        gap = rows(idle, "intervened") - rows(idle, "base")
        np.testing.assert_allclose(gap, 0, atol=1e-5)
    # END is the same token in both: without effect in front of block 0, with one behind it.
    result = fv.patch_states(gpt2.model, fact(), fact(OTHER), at="end")
    base, effect = rows(result, "base")[0], rows(result, "intervened")
    np.testing.assert_allclose(effect[0], base, atol=1e-6)
    assert (abs(effect[1:, 1] - base[1]) > 1e-3).all()
    assert any("blocks [0]" in note for note in result.provenance["notes"])


def test_targets(gpt2: Case) -> None:
    top = int(gpt2.plain.logits(IDS).argmax())
    result = fv.block_attention(gpt2.model, fact(), "end", "subject", target="top1")
    assert rows(result, "base")[0, 2] == 1
    assert int(result.dataset["target_id"][0]) == top
    by_id = fv.block_attention(gpt2.model, fact(), "end", "subject", target=top)
    np.testing.assert_array_equal(rows(by_id, "intervened"), rows(result, "intervened"))
    for wrong in ("best", 61, -1, True, None):
        with pytest.raises(fv.FactvizError, match="target"):
            fv.block_attention(gpt2.model, fact(), "end", "subject", target=wrong)


@pytest.mark.parametrize(
    ("components", "said"),
    [
        ("L3H0", "layer 3 does not exist: the model has 0 to 2"),
        ((0, 4), "heads 0 to 3"),
        ((-1, 0), "does not exist"),
        ("neuron 3", "not understood"),
        (("norm", 1), "not understood"),
        ((0, 1, 2), "not understood"),
        (3.5, "not understood"),
        ([], "empty"),
        ({}, "no components"),
        ({"none": []}, "empty"),
        (["L0H1", (0, 1)], "named twice"),
    ],
)
def test_components_that_do_not_exist(gpt2: Case, components: Any, said: str) -> None:
    with pytest.raises(fv.FactvizError, match=said):
        fv.ablate(gpt2.model, fact(), components, mode="zero")


def test_components_in_all_spellings(gpt2: Case) -> None:
    spelt = [
        (np.int64(1), 2),
        "l2h3",
        "L0.H1",
        "MLP 1",
        "mlp1",
        ("mlp", 2),
        "attn 0",
        "Attention 2",
    ]
    for one, name in zip(
        spelt,
        ["L1H2", "L2H3", "L0H1", "MLP 1", "MLP 1", "MLP 2", "attention 0", "attention 2"],
        strict=True,
    ):
        result = fv.ablate(gpt2.model, fact(), one, mode="zero", controls=0)
        assert result.components == [name]


def test_bad_input(gpt2: Case) -> None:
    model = gpt2.model
    bad: list[tuple[Any, str]] = [
        (lambda: fv.block_attention(model, fact(), "end", "subjects"), "'subjects' is unknown"),
        (lambda: fv.block_attention(model, fact(), "end", "prefix"), "no position in prefix"),
        (lambda: fv.block_attention(model, fact(), "end", []), "an empty set"),
        (lambda: fv.block_attention(model, fact(), "end", 10), "has 0 to 9"),
        (lambda: fv.block_attention(model, fact(), "end", "subject", []), "no layers"),
        (lambda: fv.block_attention(model, fact(), "end", "subject", 3), "layer 3"),
        (lambda: fv.block_attention(model, fact(), "end", "subject", controls=-1), "-1"),
        (lambda: fv.ablate(model, fact(), "L0H0"), "mode='zero'"),
        (lambda: fv.ablate(model, [fact(), fact(OTHER)], "L0H0", mode="max"), "mode 'max'"),
        (lambda: fv.patch_heads(model, fact(), fact(OTHER), "mlp 1"), "is no head"),
        (lambda: fv.patch_heads(model, fact(), "another", "L0H0"), "'another' are unknown"),
        (lambda: fv.patch_heads(model, fact(), "other_subject", "L0H0"), "give counterfactuals"),
        (
            lambda: fv.patch_heads(model, [fact()] * 3, [fact(OTHER)] * 2, "L0H0"),
            "2 counterfactuals for 3 facts",
        ),
        (
            lambda: fv.patch_heads(model, fact(), fact(OTHER, (5, 8)), "L0H0", at="subject"),
            "2 positions in the fact's prompt and 3",
        ),
        (lambda: fv.patch_states(model, fact(), depths=2), "no block stands above layer 2"),
        (lambda: fv.patch_states(model, fact(), depths=1, layers=[0, 1]), "above depth 1"),
        (lambda: fv.patch_states(model, fact(), fact(OTHER), depths=1), "leave out"),
        (lambda: fv.patch_states(model, fact(), depths=[]), "no layers"),
    ]
    for call, said in bad:
        with pytest.raises(fv.FactvizError, match=said):
            call()


def test_a_bad_fact_is_named(gpt2: Case) -> None:
    short = fact([0, 5, 6, 7], (3, 4))
    with pytest.raises(fv.FactvizError, match=r"fact 1 \('w5 w6 w7'\).*has 0 to 3"):
        fv.block_attention(gpt2.model, [fact(), short], "end", 5)


def test_one_token_prompts(gpt2: Case) -> None:
    one = fv.Fact("w5", "w5", "w21")
    result = fv.block_attention(gpt2.model, one, "end", "bos")
    assert len(rows(result, "intervened")) == 1 and len(rows(result, "control")) == 0
    fv.ablate(gpt2.model, one, "L1H0", mode="zero")
    with pytest.raises(fv.FactvizError, match="no position in non subject, relation"):
        fv.block_attention(
            fv.load_model(gpt2.plain.model, tokenizer=gpt2.model.tokenizer, prepend_bos=False),
            one,
            "end",
            ["non_subject", "relation"],
        )


def test_logits_that_are_not_finite() -> None:
    broken = Case("gpt2")
    weight = next(p for n, p in broken.model.network.named_parameters() if "ln_f" in n)
    with torch.no_grad():
        weight.fill_(torch.nan)
    with pytest.raises(fv.FactvizError, match="NaN"):
        fv.block_attention(broken.model, fact(), "end", "subject")


def test_half_precision_is_measured_in_full() -> None:
    case = Case("gpt2", torch.bfloat16)
    result = fv.block_attention(case.model, fact(), "end", "subject")
    assert result.dataset["probability"].dtype == np.float64
    assert np.isfinite(rows(result, "intervened")).all()


def _facts(mini: fv.FactModel, step: int = 22, relation: str = "landmark_country") -> fv.FactSet:
    # From the whole table: neighbours share a country.
    return fv.FactSet.builtin().select(relation=relation)[::step].known(mini, top_k=1)


def test_on_mini_the_subject_counts_more_than_as_many_other_tokens(mini: fv.FactModel) -> None:
    row = fv.block_attention(mini, _facts(mini), "end", "subject").effects().iloc[0]
    assert row["effect"] < -0.7 and row["high"] < -0.5
    assert row["difference"] < -0.1 and row["difference_high"] < 0


def test_on_mini_the_last_subject_token_carries_the_answer_in_early_layers(
    mini: fv.FactModel,
) -> None:
    facts = _facts(mini, step=6)
    effects = fv.patch_states(mini, facts, "other_subject").effects()
    # The mechanism: the state counts while END has not read it yet, and no longer.
    assert effects["effect"][1] < -0.4 and effects["difference_high"][1] < -0.2
    assert abs(effects["effect"][5]) < 0.05 < abs(effects["effect"][1])
    assert effects["control"].abs().max() < 0.05
    # What the layers write there counts: END may read it at the other tokens of the name, too.
    for at, least in (("subject_last", -0.1), ("subject", -0.4)):
        early = fv.patch_states(mini, facts, at=at, depths=[0, 4]).effects()
        assert early["effect"][0] < least and early["difference_high"][0] < least / 2
        assert abs(early["effect"][1]) < 0.05


def test_on_mini_the_heads_that_write_the_answer_count_more_than_random_ones(
    mini: fv.FactModel,
) -> None:
    facts = _facts(mini, step=6)
    heads = fv.attribute_logits(fv.trace(mini, facts)).by_role().heads.sel(role="answer")
    totals = heads.mean("fact").sum("source").values
    best = [divmod(int(i), totals.shape[1]) for i in np.argsort(-totals, axis=None)[:6]]
    ablated = fv.ablate(mini, facts, best, controls=5).effects("logit").iloc[0]
    assert ablated["effect"] < -0.5 and ablated["difference_high"] < -0.2
    patched = fv.patch_heads(mini, facts, "other_subject", best, controls=5).effects("logit")
    assert patched["effect"][0] < -0.5 and patched["difference_high"][0] < -0.2


def test_an_interrupt_keeps_what_is_done(gpt2: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.analysis import experiments

    real, calls = experiments.run, []

    def run(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) > 2:  # effects and controls of the first fact
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(experiments, "run", run)
    with pytest.raises(KeyboardInterrupt):
        fv.block_attention(gpt2.model, [fact(), fact(OTHER)], "end", "subject")
    kept = fv.partial_result()
    assert kept.provenance["partial"] and kept.dataset.sizes["fact"] == 1
    assert np.isfinite(rows(kept, "control")).all()


def test_it_is_saved_and_opened(gpt2: Case, tmp_path: Path) -> None:
    result = fv.ablate(gpt2.model, [fact(), fact(OTHER)], ["L0H0", "mlp 1"], separately=True)
    opened = fv.open_result(result.save(tmp_path / "ablation.html"))
    assert isinstance(opened, fv.Causal)
    assert opened.dataset.equals(result.dataset) and opened.provenance == result.provenance
    assert opened.to_frame().equals(result.to_frame())
    assert repr(opened) == repr(result) and "L0H0" in repr(result)
    assert result.provenance["asked"] == {
        "components": {"L0H0": ["L0H0"], "MLP 1": ["MLP 1"]}, "mode": "mean", "at": "END",
    }  # fmt: skip
    result.save(tmp_path / "ablation.csv")
