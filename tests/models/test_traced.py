"""One forward pass, batched, of which little is kept."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.models import traced as traced_module
from tests.families import tiny_model, tiny_tokenizer

FACTS = [
    fv.Fact("w5 w6 w7 w8 w9 w10", "w6 w7", "w20"),
    fv.Fact("w9 w8 w4", "w8", "w21"),
    fv.Fact("w1 w2 w3 w4 w5", "w2", "w21"),
]


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    return fv.load_model(tiny_model("llama"), tokenizer=tiny_tokenizer())


def test_what_a_trace_holds(model: fv.FactModel) -> None:
    traced = fv.trace(model, FACTS)
    assert traced.pattern.shape == (3, 3, 4, 7)
    assert [tuple(values.shape) for values in traced.values] == [(3, 7, 2, 8)] * 3
    assert traced.mlps.shape == (3, 3, 32)
    assert traced.embedding.shape == traced.residual.shape == (3, 32)
    assert traced.logits.shape == (3, 61)
    np.testing.assert_allclose(traced.pattern.sum(-1), 1, atol=1e-6)
    for fact, tokens in enumerate(traced.tokens):
        assert not traced.pattern[fact, ..., len(tokens) :].any()
    assert not traced.single
    assert fv.trace(model, FACTS[0]).single
    assert fv.trace(model, fv.FactSet(FACTS)).tokens == traced.tokens


def test_one_forward_pass_and_logits_of_end_alone(model: fv.FactModel) -> None:
    seen: list[tuple[int, ...]] = []
    handle = model.geometry.unembed.register_forward_hook(
        lambda _m, _i, output: seen.append(tuple(output.shape))
    )
    fv.trace(model, FACTS)
    handle.remove()
    assert seen == [(3, 1, 61)]


def test_many_facts_run_in_batches(model: fv.FactModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fv.trace(model, FACTS)
    monkeypatch.setattr(traced_module, "_BATCH_TOKENS", 8)
    parts = fv.trace(model, FACTS)
    torch.testing.assert_close(parts.pattern, whole.pattern)
    torch.testing.assert_close(parts.values, whole.values)
    torch.testing.assert_close(parts.logits, whole.logits)


def test_groups_can_be_given(model: fv.FactModel) -> None:
    traced = fv.trace(model, FACTS, groups={"subject": [1, 2], "end": [3]})
    assert traced.groups[0] == {"subject": (1, 2), "end": (3,), "other": (0, 4, 5, 6)}
    assert traced.groups[1] == {"subject": (1, 2), "end": (3,), "other": (0,)}
    own = fv.trace(model, FACTS, groups=[row.groups for row in traced.tokens])
    assert own.groups == fv.trace(model, FACTS).groups


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"subject": [9]}, "position 9"),
        ({"subject": [-1]}, "position -1"),
        ({"subject": [1], "end": [1]}, "partition"),
        ({"": [1]}, "a group is named ''"),
        ([{"subject": [1]}], "1 groupings for 3 facts"),
    ],
)
def test_groups_that_do_not_fit(model: fv.FactModel, groups: Any, said: str) -> None:
    with pytest.raises(fv.FactvizError, match=said):
        fv.trace(model, FACTS, groups=groups)


def test_a_prompt_longer_than_the_context(model: fv.FactModel) -> None:
    words = " ".join(f"w{i}" for i in range(1, 40))
    with pytest.raises(fv.FactvizError, match="40 tokens with BOS, the model's context 32"):
        fv.trace(model, fv.Fact(words, "w38 w39", "w3"))
    with pytest.raises(fv.FactvizError, match="context"):
        model.predict(words)


def test_hooks_go_when_a_run_breaks(model: fv.FactModel) -> None:
    def hooks() -> int:
        return sum(
            len(part._forward_hooks) + len(part._forward_pre_hooks)
            for part in model.network.modules()
        )

    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    before = hooks()
    handle = model.geometry.layers[1].mlp.register_forward_pre_hook(broken)
    with pytest.raises(KeyboardInterrupt):
        fv.trace(model, FACTS)
    handle.remove()
    assert hooks() == before
    assert model.lock.acquire(blocking=False)
    model.lock.release()
    fv.trace(model, FACTS)


def test_runs_from_many_threads_do_not_mix(model: fv.FactModel) -> None:
    wanted = [fv.trace(model, fact).pattern for fact in FACTS]
    wrong: list[int] = []

    def work(index: int) -> None:
        patterns = [fv.trace(model, FACTS[index]).pattern for _ in range(5)]
        wrong.extend(index for pattern in patterns if not torch.equal(pattern, wanted[index]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_that_looks_ahead_is_refused(model: fv.FactModel) -> None:
    def everywhere(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = torch.zeros_like(kwargs["attention_mask"], dtype=torch.float32)
        return args, kwargs | {"attention_mask": mask}

    attention = model.geometry.layers[0].attention
    handle = attention.register_forward_pre_hook(everywhere, with_kwargs=True)
    try:
        with pytest.raises(fv.FactvizError, match="see later ones"):
            fv.trace(model, FACTS)
    finally:
        handle.remove()


def test_predictions(model: fv.FactModel) -> None:
    frame = model.predict("w5 w6 w7", k=5)
    assert list(frame.columns) == ["token", "token_id", "logit", "probability"]
    assert len(frame) == 5
    assert frame["probability"].is_monotonic_decreasing
    assert len(model.predict("w5", k=1000)) == 61
    assert model.predict("w5", k=61)["probability"].sum() == pytest.approx(1)
    plain = tiny_model("llama")
    with torch.inference_mode():
        logits = plain(input_ids=torch.tensor([[0, 5, 6, 7]])).logits[0, -1]
    assert frame["token_id"].tolist() == logits.topk(5).indices.tolist()
    assert frame["token"][0] == f"w{frame['token_id'][0]}"
    for prompt, said in (("", "empty"), ("  ", "empty")):
        with pytest.raises(fv.FactvizError, match=said):
            model.predict(prompt)
    for k in (0, 2.5, None):
        with pytest.raises(fv.FactvizError, match=f"k={k}"):
            model.predict("w5", k=k)  # pyright: ignore[reportArgumentType]
    with pytest.raises(fv.FactvizError, match="the prompt is None"):
        model.predict(None)  # pyright: ignore[reportArgumentType]


def test_what_is_no_model_and_what_are_no_facts(model: fv.FactModel) -> None:
    trace: Any = fv.trace
    with pytest.raises(fv.FactvizError, match="the facts are None"):
        trace(model, None)
    with pytest.raises(fv.FactvizError, match=r"\(Fact\): trace\(model, facts\)"):
        trace(FACTS[0], model)


def test_the_tokenizer_of_another_model(model: fv.FactModel) -> None:
    wrong = tiny_tokenizer()
    wrong.add_tokens(["Etruria"])
    other = fv.load_model(tiny_model("llama"), tokenizer=wrong)
    for ask in (other.predict, lambda text: fv.trace(other, fv.Fact(text, "Etruria", "w3"))):
        with pytest.raises(fv.FactvizError, match=r"none of the 61 .* is this its tokenizer"):
            ask("w5 Etruria")


def test_a_models_name_cannot_command_the_terminal() -> None:
    name = "\x1b[31m\u202eevil\nname"
    hostile = fv.load_model(tiny_model("llama"), tokenizer=tiny_tokenizer(), name=name)
    assert hostile.name == name
    assert repr(hostile).startswith("FactModel ‹U+001B›[31m‹U+202E›evil‹U+000A›name: Llama")
