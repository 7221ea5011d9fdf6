"""Path patching: the authors' numbers, plain hooks on several families, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.analysis import paths
from tests.analysis.causal_cases import FAMILIES as CHECKED
from tests.analysis.causal_cases import IDS, Case, fact
from tests.families import FAMILIES, tiny_model, tiny_tokenizer
from tests.interventions.plain import changed

# What a random model finds improbable has a π below 0.
pytestmark = pytest.mark.filterwarnings("ignore:π is")

# Where no path leads on, rounding alone gives up to 1.8e-7 logits in float64 (most families take
# attention's softmax in float32) and 4.8e-7 in float32: an effect has to be clear of that.
ROUNDING = 1e-6

CLOSE = {"float32": 1e-2, "float64": 1e-4}  # percentage points
OTHERS = [[0, 11, 13, 30, 18, 4, 12, 2, 5, 30], [0, 9, 4, 22, 8, 31, 40, 6]]
FACT = fact()
COUNTER = [fact(OTHERS[0]), fact(OTHERS[1], (4, 6))]
END, TOPIC = 9, 7
THERE = {END: (9, 7), TOPIC: (7, 5)}  # of each counterfactual


def tiny(family: str, dtype: torch.dtype = torch.float32) -> fv.FactModel:
    return fv.load_model(
        tiny_model(family, dtype=dtype), tokenizer=tiny_tokenizer(), prepend_bos=True, name="tiny"
    )


# The papers' numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", CLOSE)
def test_the_head_map_is_the_authors(shared: Path, dtype: str) -> None:
    expected = json.loads((shared / "expected" / "expected.json").read_text(encoding="utf-8"))
    known = expected["path_patching_heads"]
    model = fv.load_model(shared / "expected" / "model", dtype=dtype)

    def made(ids: list[int], answer: int) -> fv.Fact:
        words = [f"w{i}" for i in ids[1:]]
        return fv.Fact(" ".join(words), " ".join(words[1:4]), f"w{answer}")

    pairs = zip(expected["prompt_token_ids"], known["answer_token_ids"], strict=True)
    facts = [made(ids, answer) for ids, answer in pairs]
    others = [made(ids, 1) for ids in expected["counterfactual_token_ids"]]
    result = fv.patch_paths(model, facts, others)
    assert result.base == pytest.approx(known["pi_base"], abs=1e-5)
    wanted = np.array(known["percent_change"])
    np.testing.assert_allclose(result.heads, wanted, rtol=0, atol=CLOSE[dtype])
    # From the table: percent of π, and logits that give it.
    frame = result.to_frame()
    assert list(frame.columns[:5]) == ["component", "layer", "head", "delta", "change"]
    heads = frame[frame["component"] == "head"]
    np.testing.assert_allclose(heads["change"], wanted.ravel(), rtol=0, atol=CLOSE[dtype])
    np.testing.assert_allclose(100 * heads["delta"] / result.base, heads["change"], rtol=1e-6)
    assert frame["component"].tolist() == ["head"] * 16 + ["mlp"] * 4
    assert frame["head"].isna().tolist() == [False] * 16 + [True] * 4


# Plain hooks, one sender at a time ----------------------------------------------------------------


class Reference(Case):
    """The method written with hooks on the plain Hugging Face model."""

    def __init__(self, family: str) -> None:
        super().__init__(family, torch.float64)
        self.clean = [self.seen("heads", layer, range(len(IDS))) for layer in range(self.layers)]

    def frozen(self, layer: int, head: int | None, at: int) -> list[Any]:
        """Every head as it was, which is to freeze q, k and v, and one sender replaced."""
        place = "mlp" if head is None else "heads"
        others = [
            self.seen(place, layer, [there], ids=ids)[0]
            for ids, there in zip(OTHERS, THERE[at], strict=True)
        ]
        mean = torch.stack(others).mean(0)
        found: list[Any] = []
        for index, own in enumerate(self.clean):
            kept = own.clone()
            if head is not None and index == layer:
                width = kept.shape[1] // self.model.n_heads
                here = slice(head * width, (head + 1) * width)
                kept[at, here] = mean[here]
            found.append(changed("heads", index, range(len(IDS)), lambda _, kept=kept: kept))
        if head is None:
            found.append(changed("mlp", layer, [at], lambda before: mean.expand_as(before)))
        return found

    def pi(self, *changes: Any) -> float:
        logits = self.plain.logits(IDS, *changes)
        if cap := self.model.geometry.soft_cap:
            logits = cap * torch.atanh(logits / cap)
        return float(logits[21] - logits.mean())

    def columns(self, layer: int, letter: str, head: int) -> tuple[Any, slice]:
        """The map that gives a query, key or value, and where in its output it lies."""
        attention = self.plain.blocks[layer].get_submodule(self.plain.names[1])
        which, n_heads = "qkv".index(letter), self.model.n_heads
        if self.family == "gpt2":
            width = attention.c_attn.nf // 3
            start, size = which * width + head * width // n_heads, width // n_heads
            return attention.c_attn, slice(start, start + size)
        if self.family == "neox-parallel":
            size = attention.query_key_value.out_features // (3 * n_heads)
            start = (3 * head + which) * size
            return attention.query_key_value, slice(start, start + size)
        module = attention.get_submodule(f"{letter}_proj")
        size = attention.q_proj.out_features // n_heads
        row = head if letter == "q" else head * module.out_features // size // n_heads
        return module, slice(row * size, (row + 1) * size)

    def through(self, receiver: tuple[Any, ...], sending: list[Any], at: int) -> float:
        """π of the original run with only the receiver replaced by what it is in another."""
        letter, layer = receiver[:2]
        held: list[torch.Tensor] = []
        if letter == "mlp":

            def look(before: torch.Tensor) -> torch.Tensor:
                held.append(before.clone())
                return before

            self.plain.logits(IDS, *sending, changed("mlp", layer, [at], look))
            return self.pi(changed("mlp", layer, [at], lambda _: held[0]))
        module, where = self.columns(layer, letter, receiver[2])

        def attach(do: Callable[[torch.Tensor], None]) -> Any:
            def hook(_: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
                output = output.clone()
                do(output[0, at, where])
                return output

            return lambda _plain, _length: [module.register_forward_hook(hook)]

        self.plain.logits(IDS, *sending, attach(lambda own: held.append(own.clone())))
        return self.pi(attach(lambda own: own.copy_(held[0])))


@pytest.fixture(scope="module", params=CHECKED)
def reference(request: pytest.FixtureRequest) -> Reference:
    return Reference(request.param)


SENDERS = [(0, 1), (1, 3), (0, None), (1, None)]


def effect(result: fv.PathPatching, layer: int, head: int | None) -> float:
    data = result.dataset.isel(fact=0)
    one = data["mlps"][layer] if head is None else data["heads"][layer, head]
    return float(one)


def test_senders_to_the_final_residual(reference: Reference) -> None:
    result = fv.patch_paths(reference.model, FACT, COUNTER)
    base = reference.pi()
    assert result.base == pytest.approx(base, abs=1e-6)
    for sender in [*SENDERS, (2, 0), (2, None)]:
        wanted = reference.pi(*reference.frozen(*sender, END)) - base
        assert abs(wanted) > 1e-4
        assert effect(result, *sender) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("place", ["end", "topic"])
@pytest.mark.parametrize(
    "receiver",
    [("q", 1, 1), ("q", 2, 1), ("k", 2, 1), ("v", 2, 1), ("mlp", 2), ("mlp", 1)],
    ids=str,
)
def test_other_receivers(reference: Reference, receiver: tuple[Any, ...], place: str) -> None:
    result = fv.patch_paths(reference.model, FACT, COUNTER, receiver=receiver, at=place)
    at = {"end": END, "topic": TOPIC}[place]
    if at == TOPIC and receiver[:2] in (("mlp", 2), ("q", 2)):  # nothing reads on from there
        assert np.nanmax(np.abs(result.dataset["heads"])) < 1e-6
        return
    base, largest = reference.pi(), 0.0
    for layer, head in SENDERS:
        found = effect(result, layer, head)
        if layer >= receiver[1] and (
            receiver != ("mlp", 1) or head is None or reference.family == "neox-parallel"
        ):
            assert np.isnan(found)
            continue
        wanted = reference.through(receiver, reference.frozen(layer, head, at), at) - base
        assert found == pytest.approx(wanted, abs=2e-6)
        largest = max(largest, abs(wanted))
    assert largest > 1e-5


# Properties ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_receiver_has_an_effect_on_every_family(family: str) -> None:
    model = tiny(family, torch.float64)
    receivers = [("resid_final", "end"), ("mlp 1", "end"), ("mlp 1", 7)]
    receivers += [(f"L1H2.{letter}", place) for letter in "qkv" for place in ("end", 8)]
    for receiver, place in receivers:
        result = fv.patch_paths(model, FACT, COUNTER[:1], receiver=receiver, at=place, controls=0)
        layer = {"r": 3, "m": 1, "L": 1}[receiver[0]]
        heads, mlps = result.dataset["heads"].values[0], result.dataset["mlps"].values[0]
        assert np.abs(heads[:layer]).min(-1).max() > ROUNDING, (receiver, place)
        assert np.abs(mlps[:layer]).max() > ROUNDING
        own = receiver[0] == "m" and not np.isnan(heads[1]).any()  # its layer's heads, in sequence
        assert np.isnan(heads[layer + own :]).all() and np.isnan(mlps[layer:]).all()
        assert len(result.to_frame()) == (~np.isnan(heads)).sum() + layer


def test_where_nothing_reads_on_there_is_no_effect() -> None:
    model = tiny("gpt2")
    for receiver in ("mlp 2", "L2H1.q"):  # the last layer, at a position that is not END
        result = fv.patch_paths(model, FACT, COUNTER, receiver=receiver, at="subject_last")
        assert np.abs(result.to_frame()["delta"]).max() < 1e-6


def test_frozen_mlps_leave_the_direct_path() -> None:
    """By hand: the change times W_O, into the final norm, against the answer's direction."""
    model = tiny("gpt2", torch.float64)
    case = Reference("gpt2")
    result = fv.patch_paths(model, FACT, COUNTER, freeze_mlps=True)
    plain = case.plain.model.transformer
    weight = case.plain.model.lm_head.weight.detach()
    direction = weight[21] - weight.mean(0)
    with torch.no_grad():
        final = plain(torch.tensor([IDS]), output_hidden_states=True)
        kept: list[torch.Tensor] = []
        handle = plain.ln_f.register_forward_pre_hook(lambda _, args: kept.append(args[0][0, -1]))
        plain(torch.tensor([IDS]))
        handle.remove()
        for layer, head in [(0, 1), (2, 3)]:
            others = [case.seen("heads", layer, [len(i) - 1], ids=i)[0] for i in OTHERS]
            here = slice(head * 8, (head + 1) * 8)
            move = torch.stack(others).mean(0)[here] - case.clean[layer][-1, here]
            state = kept[0] + move @ plain.h[layer].attn.c_proj.weight[here]
            wanted = (plain.ln_f(state) - final.last_hidden_state[0, -1]) @ direction
            assert effect(result, layer, head) == pytest.approx(float(wanted), abs=1e-9)
    recomputed = fv.patch_paths(model, FACT, COUNTER)
    # Behind the last head comes one MLP; behind the last MLP nothing.
    assert abs(effect(result, 2, 3) - effect(recomputed, 2, 3)) > 1e-3
    assert effect(result, 2, None) == pytest.approx(effect(recomputed, 2, None), abs=1e-9)


def test_sample_wise_takes_each_facts_own_counterfactual() -> None:
    model = tiny("llama")
    facts = [FACT, fact([0, 9, 1, 3, 7, 44, 2], (3, 5))]
    paired = fv.patch_paths(model, facts, COUNTER, mode="sample", receiver="L2H1.v", at="topic")
    for index in (0, 1):
        alone = fv.patch_paths(model, facts[index], COUNTER[index], receiver="L2H1.v", at="topic")
        for name in ("heads", "mlps"):
            np.testing.assert_allclose(
                paired.dataset[name].values[index], alone.dataset[name].values[0], atol=1e-6
            )
    mean = fv.patch_paths(model, facts, COUNTER, receiver="L2H1.v", at="topic")
    assert np.nanmax(np.abs(mean.dataset["heads"] - paired.dataset["heads"])) > 1e-4


def test_facts_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gpt2")
    facts = [fact(answer=answer) for answer in range(21, 27)]
    facts[3] = fact([0, 9, 1, 3, 7, 44, 2], (3, 5), 24)
    whole = fv.patch_paths(model, facts, COUNTER)
    monkeypatch.setattr("factviz.analysis.path_patching._MEMORY", 1)  # one fact at a time
    monkeypatch.setattr("factviz.models.frozen._ROWS", 7)
    again = fv.patch_paths(model, facts, COUNTER)
    for name in ("heads", "mlps", "base", "control_heads", "control_mlps"):
        np.testing.assert_allclose(whole.dataset[name], again.dataset[name], atol=1e-5)


def test_grouped_keys_belong_to_their_group() -> None:
    model = tiny("llama")  # 4 heads, 2 keys
    one, two, other = (
        fv.patch_paths(model, FACT, COUNTER, receiver=("k", 1, head)) for head in (0, 1, 2)
    )
    np.testing.assert_array_equal(one.dataset["heads"], two.dataset["heads"])
    assert np.nanmax(np.abs(one.dataset["heads"] - other.dataset["heads"])) > 1e-4
    assert one.provenance["receiver"] == "k of the group L1H0 to H1"
    assert "whole group" in one.provenance["notes"][0]
    query = fv.patch_paths(model, FACT, COUNTER, receiver=("q", 1, 0))
    assert query.provenance["receiver"] == "q of L1H0" and query.provenance["notes"] == []


def test_heads_of_a_layer_may_be_a_receiver_together() -> None:
    model = tiny("gpt2")
    both = fv.patch_paths(model, FACT, COUNTER, receiver=["L2H0.v", ("v", 2, 3)])
    assert both.provenance["receiver"] == "v of L2H0 + v of L2H3"
    alone = [fv.patch_paths(model, FACT, COUNTER, receiver=("v", 2, head)) for head in (0, 3)]
    for one in alone:
        assert np.nanmax(np.abs(both.dataset["heads"] - one.dataset["heads"])) > 1e-3


def test_the_control_moves_each_sender_as_far() -> None:
    model = tiny("gpt2")
    result = fv.patch_paths(model, FACT, COUNTER, controls=3)
    assert dict(result.dataset["control_heads"].sizes) == {
        "fact": 1, "layer": 3, "head": 4, "draw": 3,
    }  # fmt: skip
    again = fv.patch_paths(model, FACT, COUNTER, controls=3)
    other = fv.patch_paths(model, FACT, COUNTER, controls=3, seed=1)
    assert again.dataset.identical(result.dataset)
    assert np.abs(other.dataset["control_heads"] - result.dataset["control_heads"]).max() > 1e-3
    bare = fv.patch_paths(model, FACT, COUNTER, controls=0)
    assert "control_heads" not in bare.dataset and bare.to_frame()["control"].isna().all()
    np.testing.assert_allclose(bare.dataset["heads"], result.dataset["heads"], atol=1e-6)


def test_the_topic_is_its_own_word_and_its_last_token() -> None:
    words = "w5 w17 w33 w8 w41 w12 w29 w55 w3"
    named = fv.Fact(words, "w12 w29", "w21", topic="w8 w41")
    result = fv.patch_paths(tiny("gpt2"), named, COUNTER, receiver="L2H1.v", at="topic")
    assert result.dataset["position"].values.tolist() == [5]
    assert result.dataset["position_token"].values.tolist() == [" w41"]
    assert "topic is several tokens in 1 of 1 prompts: the last" in result.provenance["notes"][0]
    subject = fv.patch_paths(tiny("gpt2"), FACT, COUNTER, receiver="L2H1.v", at="topic")
    assert subject.dataset["position"].values.tolist() == [TOPIC]


def test_the_model_is_as_it_was_also_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gemma2")
    before, hash_ = model.predict(FACT), model.weight_hash
    facts = [fact(answer=answer) for answer in range(21, 31)]
    whole = fv.patch_paths(model, facts, COUNTER, receiver="L2H0.q", controls=0)
    calls: list[int] = []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return run(*args, **options)

    run = paths.run
    monkeypatch.setattr(paths, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fv.patch_paths(model, facts, COUNTER, receiver="L2H0.q", controls=0)
    partial = fv.partial_result()
    assert partial.provenance["partial"] and partial.dataset.sizes["fact"] == 8
    np.testing.assert_allclose(
        partial.dataset["heads"], whole.dataset["heads"][:8], rtol=0, atol=1e-9
    )
    assert model.predict(FACT).equals(before) and model.weight_hash == hash_
    hooked = [m for m in model.network.modules() if m._forward_pre_hooks]
    assert not [m for m in hooked if any("frozen" in str(f) for f in m._forward_pre_hooks.values())]


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"receiver": "L1H2"}, "receiver 'L1H2' is unknown: 'resid_final', a head's input"),
        ({"receiver": ("o", 1, 2)}, "is unknown"),
        ({"receiver": "mlp 3"}, "layer 3 does not exist: the model has 0 to 2"),
        ({"receiver": ("q", 7, 0)}, "layer 7 does not exist"),
        ({"receiver": "L1H4.k"}, "head 4 does not exist: a layer has heads 0 to 3"),
        ({"receiver": "L0H1.v"}, "v of L0H1 has no senders"),
        ({"receiver": ["L1H0.q", "L2H0.q"]}, "can't be replaced together"),
        ({"receiver": ["mlp 1", "mlp 2"]}, "can't be replaced together"),
        ({"receiver": []}, "no receiver is named"),
        ({"receiver": 3}, "receiver 3 is unknown"),
        ({"at": "topic"}, "no path leads from at='topic' to the final residual.*'L2H0.v'"),
        ({"at": "nowhere", "receiver": "L1H2.q"}, "at='nowhere' is unknown: 'topic'"),
        ({"at": 44, "receiver": "L1H2.q"}, "position 44 is not in the prompt"),
        ({"at": "prefix", "receiver": "L1H2.q"}, "no position in prefix"),
        ({"at": ["end"]}, "names no position"),
        ({"at": 0, "receiver": "L1H2.k"}, "every head and MLP writes the same there"),
        ({"mode": "median"}, "mode 'median' is unknown: 'mean' or 'sample'"),
        ({"mode": "sample"}, "2 counterfactuals for 1 facts.*mode='mean' takes any number"),
        ({"controls": -1}, "controls=-1"),
        ({"counterfactuals": []}, "no facts were given"),
        ({"counterfactuals": FACT}, "writes the same there on the counterfactual"),
        ({"counterfactuals": "other thing"}, "recipe 'other thing' for counterfactuals is unknown"),
        ({"facts": []}, "no facts were given"),
        ({"target": "best"}, "target 'best' is unknown"),
    ],
    ids=str,
)
def test_bad_input_is_one_clear_line(options: dict[str, Any], said: str) -> None:
    options = {"facts": FACT, "counterfactuals": COUNTER} | options
    with pytest.raises(fv.FactvizError, match=said) as caught:
        fv.patch_paths(
            tiny("gpt2"), options.pop("facts"), options.pop("counterfactuals"), **options
        )
    assert "\n" not in str(caught.value)


def test_a_parallel_blocks_first_mlp_has_no_senders() -> None:
    with pytest.raises(fv.FactvizError, match="has no senders: in a parallel block"):
        fv.patch_paths(tiny("neox-parallel"), FACT, COUNTER, receiver="mlp 0")
    sequential = fv.patch_paths(tiny("neox-sequential"), FACT, COUNTER, receiver="mlp 0")
    assert len(sequential.to_frame()) == 4


def test_a_counterfactual_equal_to_the_original_is_named() -> None:
    facts = [FACT, fact([0, 9, 1, 3, 7, 44, 2], (3, 5))]
    with pytest.raises(fv.FactvizError, match=r"fact 1 \('w9 w1 w3"):
        fv.patch_paths(tiny("gpt2"), facts, [COUNTER[0], facts[1]], mode="sample")


def test_without_a_positive_pi_there_is_no_percentage() -> None:
    model = tiny("gpt2")
    bottom = int(model.predict(FACT, k=61)["token_id"].iloc[-1])
    with pytest.warns(fv.FactvizWarning, match="not above 0"):
        result = fv.patch_paths(model, FACT, COUNTER, target=bottom)
    assert result.base < 0
    frame = result.to_frame()
    assert frame["change"].isna().all() and np.abs(frame["delta"]).min() > 0
    assert "not above 0" in result.provenance["notes"][-1]
    assert "%" not in repr(result).splitlines()[1]


def test_activations_that_are_not_finite_are_refused() -> None:
    plain = tiny_model("gpt2")
    model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
    with torch.no_grad():
        next(p for n, p in model.network.named_parameters() if "mlp" in n).fill_(float("nan"))
    with pytest.raises(fv.FactvizError, match=r"not finite|NaN"):
        fv.patch_paths(model, FACT, COUNTER)


# Directions, on a model that knows ----------------------------------------------------------------


def test_another_topic_costs_the_answer_more_than_noise_does() -> None:
    model = fv.load_model("mini-gpt2")
    facts = fv.FactSet.builtin().select(relation="country_capital")[:24]
    result = fv.patch_paths(model, facts, "other topic")
    first = result.strongest(1).iloc[0]
    assert first["change"] < -5 and first["high"] < 0 and first["beyond_control"]
    assert first["change_low"] < first["change"] < first["change_high"] < 0
    total = result.to_frame()[["delta", "control"]].sum()
    assert total["delta"] < total["control"] - 1  # logits
    assert result.provenance["counterfactuals"] == "24 prompts, other topic"
    assert "L0H5" in repr(result) or first["component"] == "mlp"


def test_two_maps_are_compared_sender_by_sender() -> None:
    model = tiny("gpt2")
    one, two = (fv.patch_paths(model, FACT, other, target="top1") for other in COUNTER)
    frame = fv.compare(one, two, labels=["one", "two"]).to_frame().set_index(["measure", "name"])
    assert frame.loc[("delta", "L1H2"), "one"] == effect(one, 1, 2)
    assert frame.loc[("change", "MLP 0"), "two"] == float(two.mlps[0])
    assert len(frame) == 2 * 15
