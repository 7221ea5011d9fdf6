"""Extraction events: the authors' numbers, plain hooks on families, and cases written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import factviz as fv
from tests.analysis.causal_cases import END, FAMILIES, IDS, SUBJECT, Case, fact
from tests.interventions.plain import blocked, changed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_top_tokens_are_the_authors(shared: Path, dtype: str) -> None:
    expected = json.loads((shared / "expected" / "expected.json").read_text(encoding="utf-8"))
    model = fv.load_model(shared / "expected" / "model", dtype=dtype)
    facts = [fact(ids, (2, 5)) for ids in expected["prompt_token_ids"]]
    result = fv.extraction_events(model, facts)
    known = expected["extraction_argmax"]
    assert result.token_ids.sel(run=0, sublayer="attention").values.tolist() == known["mhsa"]
    assert result.token_ids.sel(run=0, sublayer="mlp").values.tolist() == known["mlp"]
    assert result.dataset["target_id"].values.tolist() == known["clean_top1"]
    frame = result.to_frame()
    assert list(frame.columns[:6]) == [
        "fact", "sublayer", "layer", "token_id", "token", "event",
    ]  # fmt: skip
    assert frame["event"].dtype == bool
    # Random as it is, the model has events: the two in which top token and target agree.
    wanted = frame["token_id"] == np.repeat(known["clean_top1"], 8)
    assert frame["event"].tolist() == wanted.tolist() and wanted.any()
    assert (frame["token"] == "w" + frame["token_id"].astype(str)).all()


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="module")
def gpt2() -> Case:
    return Case("gpt2")


def _plain(case: Case, *changes: Any) -> np.ndarray:
    """Top token, rank and score of token 21 in each update [what, sublayer, layer]."""
    embedding = case.plain.model.get_output_embeddings().weight.detach()
    found = np.zeros((3, 2, case.layers))
    for sublayer, place in enumerate(("attention", "mlp")):
        for layer in range(case.layers):
            scores = (case.seen(place, layer, [END], *changes) @ embedding.T)[0]
            found[:, sublayer, layer] = (
                int(scores.argmax()),
                int((scores > scores[21]).sum()) + 1,
                float((scores[21] - scores.mean()).detach()),
            )
    return found


def _same(result: fv.Extraction, run: int, plain: np.ndarray) -> None:
    one = result.dataset.isel(fact=0, run=run)
    np.testing.assert_array_equal(one["token_id"], plain[0])
    np.testing.assert_array_equal(one["rank"], plain[1])
    np.testing.assert_allclose(one["score"], plain[2], atol=2e-4)
    np.testing.assert_array_equal(one["event"], plain[0] == 21)


def test_all_runs_are_the_plain_models(case: Case) -> None:
    result = fv.extraction_events(
        case.model, fact(), blocked=["subject", "last"], target="answer", early=0
    )
    assert result.variants == ["clean", "subject blocked", "END blocked", "subject kept at 0"]
    layers = list(range(case.layers))
    early = case.seen("state", 0, SUBJECT)
    runs: list[list[Any]] = [
        [],
        [blocked([END], SUBJECT, layers)],
        [blocked([END], [END], layers)],
        [changed("state", layer, SUBJECT, lambda _: early) for layer in layers[1:]],
    ]
    plain = [_plain(case, *changes) for changes in runs]
    for run, one in enumerate(plain):
        _same(result, run, one)
        assert run == 0 or abs(one[2] - plain[0][2]).max() > 1e-2
    assert result.parallel == (case.family == "neox-parallel")


def test_the_ranks_of_states_are_the_plain_models(case: Case) -> None:
    result = fv.extraction_events(case.model, fact(), target="answer")
    embedding = case.plain.model.get_output_embeddings().weight.detach()
    for layer in range(case.layers):
        states = case.seen("state", layer, [SUBJECT[-1], END])
        scores = states @ embedding.T
        ranks = (scores > scores[:, [21]]).sum(-1) + 1
        assert int(result.dataset["subject_rank"][0, layer]) == int(ranks[0])
        assert int(result.dataset["end_rank"][0, layer]) == int(ranks[1])


def test_a_block_in_each_layer_alone(case: Case) -> None:
    result = fv.extraction_events(
        case.model, fact(), blocked="subject", target="answer", scope="layer"
    )
    each = [_plain(case, blocked([END], SUBJECT, [layer])) for layer in range(case.layers)]
    _same(result, 1, np.stack([one[:, :, i] for i, one in enumerate(each)], -1))
    clean, block = result.dataset["score"].values[0]
    assert (abs(clean[0] - block[0]) > 1e-4).all()
    assert (abs(clean[1] - block[1]) < 1e-4).all() == result.parallel


def test_the_second_softmax_is_the_reference_codes() -> None:
    """GPT-2 by hand: weights of the clean run, the subject's struck out, softmax once more."""
    case = Case("gpt2", torch.float64)
    result = fv.extraction_events(
        case.model, fact(), blocked="subject", target="answer", scope="layer", mode="reference"
    )
    model = case.plain.model
    with torch.no_grad():
        out = model(torch.tensor([IDS]), output_attentions=True, output_hidden_states=True)
        for layer, block in enumerate(model.transformer.h):
            weights = out.attentions[layer][0, :, END]
            weights[:, SUBJECT] = -torch.inf
            normed = block.ln_1(out.hidden_states[layer][0])
            values = block.attn.c_attn(normed)[:, 64:].view(len(IDS), 4, 8)
            heads = torch.einsum("hs,shd->hd", weights.softmax(-1), values)
            update = block.attn.c_proj(heads.view(1, 1, -1))[0, 0]
            scores = model.lm_head(update)
            assert int(scores.argmax()) == int(result.token_ids[1, 0, layer])
            found = float(result.dataset["score"][0, 1, 0, layer])
            assert found == pytest.approx(float(scores[21] - scores.mean()), abs=1e-9)
    once = fv.extraction_events(
        case.model, fact(), blocked="subject", target="answer", scope="layer"
    )
    assert abs(once.dataset["score"] - result.dataset["score"])[0, 1, 0].min() > 1e-4
    assert result.provenance["mode"] == "reference"


def test_blocking_all_writes_the_bias_alone(gpt2: Case) -> None:
    result = fv.extraction_events(gpt2.model, fact(), blocked="all", target="answer")
    bias = torch.stack([block.attn.c_proj.bias for block in gpt2.plain.model.transformer.h])
    scores = gpt2.plain.model.lm_head(bias).detach()
    assert result.token_ids[1, 0].values.tolist() == scores.argmax(-1).tolist()


def _made(events: Any, *, parallel: bool, ranks: Any = None) -> fv.Extraction:
    """A result with these events [fact, sublayer, layer]; relations a, a, b, …"""
    event = np.array(events, dtype=bool)[:, None]
    count, _, _, layers = event.shape
    table = ("fact", "run", "sublayer", "layer")
    state = np.arange(count * (layers + 1)).reshape(count, layers + 1) + 1
    texts = np.array([f"s{i}" for i in range(count)])
    coords: dict[str, Any] = dict.fromkeys(
        ("prompt", "subject", "answer", "target_token"), ("fact", texts)
    )
    coords |= {
        "relation": ("fact", np.array(["a", "a", "b", "b"][:count])),
        "target_id": ("fact", np.full(count, 5)),
        "variant": ("run", np.array(["clean"])),
        "sublayer": np.array(["attention", "mlp"]),
        "layer": np.arange(layers),
        "token": (table, np.full(event.shape, "t")),
    }
    data = {
        "token_id": (table, np.where(event, 5, 6)),
        "event": (table, event),
        "rank": (table, np.where(event, 1, 9)),
        "score": (table, np.ones(event.shape)),
        "end_rank": (("fact", "state"), state),
        "subject_rank": (("fact", "state"), 10 * state),
    }
    attrs = {"single": False, "parallel": parallel}
    return fv.Extraction(xr.Dataset(data, coords=coords, attrs=attrs), {"model": "made"})


FOUR = [
    [[0, 1, 1], [0, 1, 0]],  # both, in one layer
    [[1, 0, 0], [0, 0, 1]],  # both, attention first
    [[0, 0, 1], [0, 0, 0]],  # attention only
    [[0, 0, 1], [1, 0, 0]],  # both, the MLP first
]


@pytest.mark.parametrize("parallel", [False, True])
def test_what_comes_first_is_a_tie_in_parallel_blocks(parallel: bool) -> None:
    row = _made(FOUR, parallel=parallel).order().iloc[0]
    assert row["prompts"] == 3
    ahead, tie = (1 / 3, 1 / 3) if parallel else (2 / 3, 0)
    assert (row["attention_first"], row["tie"]) == (pytest.approx(ahead), pytest.approx(tie))
    assert row["mlp_first"] == pytest.approx(1 / 3)
    none = _made([[[0, 0], [0, 0]]], parallel=parallel).order().iloc[0]
    assert none["prompts"] == 0 and np.isnan(none["attention_first"])


def test_rates_by_prompt_and_by_layer() -> None:
    result = _made(FOUR[:3], parallel=False)  # relation a twice, b once: macro-averaged
    rates = dict(zip(*result.rates()[["sublayer", "rate"]].to_numpy().T, strict=True))
    assert rates == {
        "attention": 1, "mlp": 0.5, "attention only": 0.5, "mlp only": 0, "both": 0.5, "neither": 0,
    }  # fmt: skip
    rate = result.by_layer()["rate"].sel(run=0, sublayer="attention")
    np.testing.assert_allclose(rate, [0.25, 0.25, 0.75])
    assert "attention 100.0 %, mlp 50.0 %, both 50.0 %, neither 0.0 %" in repr(result)


def test_ranks_before_and_behind_the_first_event() -> None:
    frame = _made(FOUR, parallel=False).rank_comparison()
    assert frame["fact"].tolist() == [0, 1, 2, 3] and frame["layer"].tolist() == [1, 0, 2, 2]
    assert frame["subject_before"].tolist() == [20, 50, 110, 150]
    assert frame["subject_after"].tolist() == [30, 60, 120, 160]
    assert frame["end_before"].tolist() == [2, 5, 11, 15] and set(frame["update"]) == {1}
    assert _made([[[0, 0], [0, 1]]], parallel=False).rank_comparison().empty


def test_on_mini_attention_extracts_what_it_reads_from_the_subject(mini: fv.FactModel) -> None:
    facts = fv.FactSet.builtin()[::100].known(mini, top_k=1)
    result = fv.extraction_events(mini, facts, blocked=["subject", "bos"], early="scaled")
    rates = result.rates().set_index(["variant", "sublayer"])
    attention = rates.xs("attention", level="sublayer")
    assert attention["rate"]["clean"] > 0.5
    assert attention["high"]["subject blocked"] < attention["low"]["clean"] / 2
    # The control: BOS, which says nothing of the subject, may go.
    assert attention["rate"]["bos blocked"] > attention["high"]["subject blocked"] + 0.2
    # The subject's representation must be enriched first.
    assert attention["rate"]["subject kept at 0"] < attention["rate"]["clean"] - 0.2
    compared = result.rank_comparison()
    assert compared["subject_before"].median() > 5 and (compared["update"] == 1).all()
    assert result.parallel


def test_bad_input(gpt2: Case) -> None:
    model = gpt2.model
    bad: list[tuple[dict[str, Any], str]] = [
        ({"blocked": "subjects"}, "'subjects' is unknown"),
        ({"blocked": ["prefix"]}, "no position in prefix"),
        ({"blocked": [[]]}, "an empty set"),
        ({"blocked": 12}, "has 0 to 9"),
        ({"target": "best"}, "'answer', 'top1'"),
        ({"target": 61}, "0 to 60"),
        ({"scope": "some"}, "scopes are 'all' and 'layer'"),
        ({"mode": "twice"}, "modes 'renormalised'"),
        ({"mode": "reference"}, "use scope='layer'"),
        ({"early": "late"}, "'scaled'"),
        ({"early": 3}, "layer 3 does not exist"),
        ({"early": [2]}, "no block stands above layer 2"),
        ({"early": 0, "early_at": "prefix"}, "no position in prefix"),
    ]
    for options, said in bad:
        with pytest.raises(fv.FactvizError, match=said):
            fv.extraction_events(model, fact(), **options)
    two = [fact(), fact([0, 5, 6], (2, 3))]
    with pytest.raises(fv.FactvizError, match=r"fact 1 \('w5 w6'\)"):
        fv.extraction_events(model, two, blocked=4)


def test_one_token_and_one_fact(gpt2: Case) -> None:
    one = fv.extraction_events(gpt2.model, fv.Fact("w5", "w5", "w21"), blocked="bos")
    assert one.events.dims == ("run", "sublayer", "layer")
    assert one.events.shape == (2, 2, 3) and len(one.to_frame()) == 12
    assert "Extraction of" in repr(one) and len(repr(one).splitlines()) == 4


def test_what_a_window_hides_cannot_be_blocked() -> None:
    case = Case("mistral")  # END sees the last 4 of 10
    for scope in ("all", "layer"):
        with pytest.raises(fv.FactvizError, match=r"no edge that exists|changes nothing"):
            fv.extraction_events(case.model, fact(), blocked=[[1, 2]], scope=scope)


def test_logits_that_are_not_finite() -> None:
    broken = Case("gpt2")
    with torch.no_grad():
        broken.model.network.transformer.h[1].mlp.c_fc.bias.fill_(torch.nan)
    with pytest.raises(fv.FactvizError, match="NaN"):
        fv.extraction_events(broken.model, fact())


def test_an_interrupt_keeps_what_is_done(gpt2: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.analysis import extraction

    real, calls = extraction.run, []

    def run(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) > 1:  # after the first fact
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(extraction, "run", run)
    with pytest.raises(KeyboardInterrupt):
        fv.extraction_events(gpt2.model, [fact(), fact()])
    kept = fv.partial_result()
    assert kept.provenance["partial"] and kept.dataset.sizes["fact"] == 1


def test_it_is_saved_and_opened(gpt2: Case, tmp_path: Path) -> None:
    result = fv.extraction_events(gpt2.model, [fact(), fact()], blocked=["subject"])
    opened = fv.open_result(result.save(tmp_path / "events.html"))
    assert isinstance(opened, fv.Extraction)
    assert opened.dataset.equals(result.dataset) and opened.provenance == result.provenance
    assert opened.to_frame().equals(result.to_frame()) and opened.parallel == result.parallel
    assert result.provenance["projection"].startswith("P3") and result.provenance["scope"] == "all"
