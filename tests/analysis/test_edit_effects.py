"""Edits of heads beside those of random ones: their sizes, their controls, what recall loses."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import factviz as fv
from factviz.analysis import edit_effects
from factviz.models.edits import edits_of
from factviz.models.head_maps import output_of_head
from factviz.models.vocabulary_maps import head_weights
from factviz.results.halves import subject_halves
from tests.families import VOCABULARY, tiny_model, tiny_tokenizer

FACTS = [
    fv.Fact(f"w{s} w7 w{s + 1} w9", f"w{s}", f"w{s + 20}", relation=f"r{s % 2}")
    for s in (11, 14, 17, 23, 31)
]
LOSSES = ["top1", "probability", "rank", "logit"]


@cache
def tiny(family: str) -> Any:
    return fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)


def _ov(model: Any, head: tuple[int, int]) -> torch.Tensor:
    value, output = head_weights(model, *head)
    return output.double() @ value.double()


@pytest.mark.parametrize("family", ["gpt2", "neox-parallel", "gemma2", "granite", "falcon-7b"])
def test_a_head_without_w_o_is_a_head_ablated_everywhere(family: str) -> None:
    """The engine removes its output at every position; here the weights are gone."""
    model = tiny(family)
    wanted = fv.ablate(model, FACTS, [(1, 2)], mode="zero", at="all", controls=0)
    found = fv.compare_edits(model, FACTS, [(1, 2)], scale=0, controls=0)
    for name in ("probability", "logit", "rank"):
        ours, theirs = (one.dataset[name].values for one in (found, wanted))
        assert ours == pytest.approx(theirs, abs=1e-4), name
    assert found.dataset["probability"].values[:, 0] != pytest.approx(
        found.dataset["probability"].values[:, 1]
    )


@pytest.mark.parametrize("match", ["weights", "output"])
@pytest.mark.parametrize("asked", [{"scale": 0.3}, {"remove": ["w11", "w40"]}])
def test_controls_change_as_much(asked: dict[str, Any], match: Any) -> None:
    """Sizes are measured here anew, from whole matrices and from states before the final norm."""
    model = tiny("neox-sequential")
    found = fv.compare_edits(
        model, FACTS, [(2, 1), (2, 3)], separately=True, match=match, controls=2, **asked
    )
    data = found.dataset
    assert data["variant"].values.tolist() == ["base"] + ["intervened"] * 2 + ["control"] * 4
    clean = fv.trace(model, FACTS).residual
    for run in range(1, 7):
        layer, head = (int(part) for part in str(data["heads"].values[run])[1:].split("H"))
        assert layer == 2
        amount = float(data["amount"].values[run])
        before = _ov(model, (layer, head))
        with fv.edit_head(model, layer, head, amount=amount, **asked):
            weights = float((_ov(model, (layer, head)) - before).norm())
            # No head of the last layer is seen by another: its MLP is, so only the size of weights
            # can be had from outside there; outputs are compared by the residual before the MLP.
            moved = fv.trace(model, FACTS)
        if match == "weights":
            assert weights == pytest.approx(float(data["size"].values[run]), rel=1e-5)
        else:
            mlps = (moved.mlps - fv.trace(model, FACTS).mlps).sum(1)
            write = moved.residual - clean - mlps
            size = float(write.double().square().sum(1).mean().sqrt())
            assert size == pytest.approx(float(data["size"].values[run]), rel=1e-4)
    own = {str(name) for name in data["heads"].values[1:3]}
    assert own == {"L2H1", "L2H3"} and own.isdisjoint(data["heads"].values[3:].tolist())
    sizes = data["size"].values
    assert sizes[3:5] == pytest.approx([sizes[1]] * 2) and sizes[5:] == pytest.approx(
        [sizes[2]] * 2
    )
    assert (data["amount"].values[1:3] == 1).all()
    assert not edits_of(model)


def test_a_swap_is_compared_with_the_nearest_in_size() -> None:
    model = tiny("gpt2")
    found = fv.compare_edits(model, FACTS, (1, 2), swap=(0, 3), controls=3)
    data, partner = found.dataset, _ov(model, (0, 3))
    heads = [(layer, head) for layer in range(3) for head in range(4)]
    size = {head: float((_ov(model, head) - partner).norm()) for head in heads}
    others = [head for head in heads if head not in ((1, 2), (0, 3))]
    near = sorted(others, key=lambda head: abs(np.log(size[head] / size[1, 2])))[:3]
    assert data["heads"].values[2:].tolist() == [f"L{a}H{b}" for a, b in near]
    assert data["size"].values[1:] == pytest.approx([size[1, 2], *(size[h] for h in near)])
    assert "nearest in size" in found.provenance["control"]


def test_what_is_lost_is_what_was_lost() -> None:
    model = tiny("llama")
    found = fv.compare_edits(model, FACTS, [(0, 1), (2, 2)], scale=-2, controls=2, seed=3)
    with fv.edit_head(model, 0, 1, scale=-2), fv.edit_head(model, 2, 2, scale=-2):
        for row, fact in enumerate(FACTS):
            told = model.predict(fact, VOCABULARY).set_index("token_id")
            answer = int(found.dataset["target_id"].values[row])
            assert found.dataset["probability"].values[row, 1] == pytest.approx(
                told.loc[answer, "probability"], abs=1e-6
            )
            place = told.index.get_loc(answer)
            assert found.dataset["rank"].values[row, 1] == place + 1
    table = found.losses().set_index("measure")
    assert table.index.tolist() == LOSSES
    ranks = found.dataset["rank"].values
    even = np.array([fact.relation == "r0" for fact in FACTS])

    def macro(values: Any) -> float:
        return float(np.mean([values[even].mean(), values[~even].mean()]))

    assert table.loc["rank", "effect"] == pytest.approx(macro(np.log2(ranks[:, 1] / ranks[:, 0])))
    drawn = np.log2(ranks[:, 2:] / ranks[:, :1]).mean(1)
    assert table.loc["rank", "control"] == pytest.approx(macro(drawn))
    top = (ranks == 1).astype(float)
    assert table.loc["top1", "effect"] == pytest.approx(macro(top[:, 1] - top[:, 0]))
    for name in ("effect", "control", "difference"):
        low, high = ("low", "high") if name == "effect" else (f"{name}_low", f"{name}_high")
        assert (table[low] <= table[name] + 1e-12).all() and (
            table[name] <= table[high] + 1e-12
        ).all()
    frame = found.to_frame()
    assert frame.columns.tolist()[:5] == ["fact", "variant", "probability", "logit", "rank"]
    assert {"heads", "size", "amount"} <= set(frame.columns) and len(frame) == 4 * len(FACTS)


def test_the_same_again_and_the_model_as_before() -> None:
    model = tiny("gpt2")
    before = model.weight_hash
    one, two = (
        fv.compare_edits(model, FACTS, "L1H1", remove=FACTS, side="input", seed=4) for _ in range(2)
    )
    assert one.dataset.identical(two.dataset)
    assert model.weight_hash == before == one.provenance["weight_hash"]
    assert "edited" not in one.provenance and "topic of 5 facts" in one.provenance["edit"]


def test_top1_is_that_of_the_clean_model() -> None:
    model = tiny("gpt2")
    found = fv.compare_edits(model, FACTS, (1, 1), scale=-5, target="top1", controls=1)
    assert (found.dataset["rank"].values[:, 0] == 1).all()
    tops = [top[0] for top in model.top_ids(FACTS, 1)]
    assert found.dataset["target_id"].values.tolist() == tops


def test_one_subject_has_no_intervals_and_is_told() -> None:
    found = fv.compare_edits(tiny("gpt2"), FACTS[0], (1, 1), scale=0)
    assert found.losses()["low"].isna().all()
    assert any("one subject" in note for note in found.provenance["notes"])
    assert found.probability.dims == ("run",)


def test_an_interrupt_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    model, real, runs = tiny("gpt2"), edit_effects._Job.run, []

    def run(job: Any, one: Any) -> None:
        runs.append(one)
        if len(runs) == 3:
            raise KeyboardInterrupt
        real(job, one)

    monkeypatch.setattr(edit_effects._Job, "run", run)
    before = model.weight_hash
    with pytest.raises(KeyboardInterrupt):
        fv.compare_edits(model, FACTS, (1, 1), scale=0, controls=2)
    kept = fv.partial_result()
    assert kept.provenance["partial"] and len(kept.to_frame()) == 2 * len(FACTS)
    assert "partial" in repr(kept)
    assert model.weight_hash == before and not edits_of(model)


def _one_head() -> Any:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=8, n_layer=1, n_head=1, n_positions=16,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    plain = transformers.GPT2LMHeadModel(config)
    return fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)


@pytest.mark.parametrize(
    ("heads", "asked", "words"),
    [
        ((5, 0), {"scale": 0}, "layer 5 does not exist"),
        ((1, 9), {"scale": 0}, "head 9 does not exist"),
        ("mlp 1", {"scale": 0}, "is no head"),
        ((1, 1), {}, "one of scale=, remove= and swap="),
        ((1, 1), {"scale": 1}, "changes nothing"),
        ((1, 1), {"scale": 0, "match": "norm"}, "match='norm'"),
        ((1, 1), {"scale": 0, "controls": -1}, "controls=-1"),
        ((1, 1), {"scale": float("nan")}, "no finite number"),
        ((1, 1), {"swap": (1, 1)}, "swapped with itself"),
        ([(1, 1), (1, 2)], {"swap": (0, 1)}, "a swap has one and its partner"),
        ((1, 1), {"swap": (0, 1), "controls": 11}, "10 of 11 controls"),
        ([(i, h) for i in range(3) for h in range(4)], {"scale": 0}, "0 of 3 controls"),
        ((1, 1), {"remove": torch.ones(31)}, "31 numbers"),
        ((1, 1), {"scale": 1e39}, "not finite"),
    ],
)
def test_bad_input(heads: Any, asked: dict[str, Any], words: str) -> None:
    model = tiny("gpt2")
    before = model.weight_hash
    with pytest.raises(fv.FactvizError, match=words):
        fv.compare_edits(model, FACTS, heads, **asked)
    assert model.weight_hash == before and not edits_of(model)


def test_a_model_of_one_head_has_no_control() -> None:
    model = _one_head()
    with pytest.raises(fv.FactvizError, match=r"0 of 3 controls .* 1 × 1 heads"):
        fv.compare_edits(model, FACTS, (0, 0), scale=0)
    assert fv.compare_edits(model, FACTS, (0, 0), scale=0, controls=0).components == ["L0H0"]


def test_an_edit_that_moves_no_answer_is_refused() -> None:
    """A head of the last layer that writes along what the final norm takes out alone."""
    model = fv.load_model(tiny_model("neox-parallel"), tokenizer=tiny_tokenizer())
    with torch.no_grad():
        output = output_of_head(model, 2, 1)
        output.copy_(output[:1].expand_as(output).clone())
    with pytest.raises(fv.FactvizError, match="on none of 5 facts"):
        fv.compare_edits(model, FACTS, (2, 1), scale=3, controls=0, match="weights")
    found = fv.compare_edits(model, FACTS, (2, 1), scale=3, controls=0, allow_idle=True)
    assert float(found.losses()["effect"].abs().max()) < 1e-5


def test_the_heads_that_write_the_answer_are_missed_more_than_random_ones() -> None:
    """On the embedded model: chosen by what they write on one half, edited on the other half."""
    model = fv.load_model("mini-gpt2")
    every = list(fv.FactSet.builtin().select(relation="country_capital"))[:48]
    halves = subject_halves([f.subject for f in every], [f.relation for f in every])
    chosen, judged = ([every[i] for i in half] for half in halves)
    dla = fv.attribute_logits(fv.trace(model, chosen)).heads.isel(attribute=0)
    order = dla.sum("source").mean("fact")[-3:]  # of the upper half of the layers
    best = [divmod(int(i), model.n_heads) for i in np.argsort(-order.values, axis=None)[:3]]
    heads = [(layer + model.n_layers - 3, head) for layer, head in best]
    found = fv.compare_edits(model, judged, heads, scale=0, controls=3)
    row = found.losses().set_index("measure").loc["logit"]
    assert row["high"] < 0 and row["difference_high"] < 0
