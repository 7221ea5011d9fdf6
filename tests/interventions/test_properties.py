"""What must hold whatever the model: nothing changes nothing, everything is zero, errors speak."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

import factviz as fv
from factviz.facts.errors import FactvizError
from factviz.models import proofs
from factviz.models.clean_runs import CleanRun
from factviz.models.interventions import (
    Apply,
    BlockAttention,
    Keep,
    ReplaceHead,
    ReplaceNeurons,
    ReplaceState,
    ReplaceSublayer,
    UniformAttention,
    cancel_updates,
    centred_window,
    starting_window,
)
from factviz.models.runs import prepare, run
from factviz.models.shared_prefix import ChangedRuns
from tests.families import tiny_model, tiny_tokenizer

IDS = [0, 5, 17, 33, 8, 41, 12, 29, 55, 3]
END = len(IDS) - 1
ALL = [0, 1, 2]


def _loaded(family: str, **options: Any) -> Any:
    return fv.load_model(tiny_model(family, **options), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module")
def model() -> Any:
    return _loaded("gpt2")


IDLE = {
    "no key": BlockAttention([END], [], ALL),
    "no query": BlockAttention([], [2], ALL),
    "no layer": BlockAttention([END], [2], []),
    "the future": BlockAttention([2, 3], [4, 5, END], ALL),
    "no position": ReplaceHead(0, 0, [], scale=0.0),
    "scaled by 1": ReplaceSublayer("mlp", 1, [4], scale=1.0),
    "an equal tensor": Apply("attention", 1, [4], lambda before, layer, positions: before.clone()),
}


@pytest.mark.parametrize("what", IDLE)
@pytest.mark.parametrize("share", [True, False])
def test_what_changes_nothing_is_an_error_or_changes_nothing(
    model: Any, what: str, share: bool
) -> None:
    real = ReplaceHead(1, 1, [END], scale=0.0)
    with pytest.raises(FactvizError, match=r"variant 1: .*allow_idle"):
        run(model, IDS, [[real], [real, IDLE[what]]], share=share)
    runs = run(model, IDS, [[IDLE[what]], [real], [real, IDLE[what]]], allow_idle=True, share=share)
    torch.testing.assert_close(runs.logits[0], runs.clean_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(runs.logits[1], runs.logits[2], rtol=0, atol=1e-5)
    assert (runs.logits[1] - runs.clean_logits).abs().max() > 1e-3


def test_an_empty_variant_is_the_clean_run_where_it_is_allowed(model: Any) -> None:
    with pytest.raises(FactvizError, match="variant 0 is empty"):
        run(model, IDS, [[]])
    runs = run(model, IDS, [[]], allow_idle=True)
    assert torch.equal(runs.logits[0], runs.clean_logits)


def test_a_states_own_value_changes_nothing(model: Any) -> None:
    state = prepare(model, IDS, [], keep=[Keep("state", [4], [1])]).clean_kept[0][0]
    with pytest.raises(FactvizError, match=r"ReplaceState\(layer=1, positions=\[4\]\) left every"):
        run(model, IDS, [[ReplaceState(1, [4], state)]])


def test_of_edges_past_and_future_only_the_past_counts(model: Any) -> None:
    runs = run(
        model,
        IDS,
        [[BlockAttention([5], [3, 7, END], ALL)], [BlockAttention([5], [3], ALL)]],
    )
    torch.testing.assert_close(runs.logits[0], runs.logits[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "bloom", "falcon-rw", "gpt-neo"])
def test_blocking_everything_leaves_the_output_bias(family: str) -> None:
    model = _loaded(family)
    zero = [ReplaceHead(layer, head, [END], scale=0.0) for layer in ALL for head in range(4)]
    everything = BlockAttention([END], range(END + 1), ALL)
    runs = run(model, IDS, [[everything], zero], keep=[Keep("heads", [END])])
    assert bool(runs.logits.isfinite().all())
    assert not runs.kept[0].any()
    assert runs.clean_kept[0].any()
    torch.testing.assert_close(runs.logits[0], runs.logits[1], rtol=0, atol=1e-6)
    if family == "gpt2":
        kept = run(model, IDS, [[everything]], keep=[Keep("attention", [END], [1])]).kept[0]
        bias = model.network.transformer.h[1].attn.c_proj.bias
        torch.testing.assert_close(kept[0, 0, 0], bias, rtol=0, atol=1e-6)
        assert bias.abs().max() > 0.1


def test_kept_tensors_are_those_of_the_run(model: Any) -> None:
    keeps = [Keep("state", [4, -1]), Keep("mlp", [4], [0, 2]), Keep("attention", [4, END], [1])]
    vector = torch.arange(32.0)
    runs = run(
        model,
        IDS,
        [[ReplaceSublayer("mlp", 0, [4], value=vector)], [ReplaceHead(2, 0, [END], scale=0.0)]],
        keep=keeps,
    )
    plain = tiny_model("gpt2")
    with torch.inference_mode():
        output = plain(torch.tensor([IDS]), output_hidden_states=True)
    states, mlp, attention = runs.clean_kept
    assert states.shape == (4, 2, 32) and runs.kept[0].shape == (2, 4, 2, 32)
    for layer in ALL:  # the last one there is after the final norm
        wanted = output.hidden_states[layer][0, [4, END]]
        torch.testing.assert_close(states[layer], wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(runs.kept[1][0, 0, 0], vector)
    before = runs.kept[0][0, 1, 0] - vector + mlp[0, 0]
    torch.testing.assert_close(before, states[1, 0], rtol=0, atol=1e-5)
    # The second variant has touched neither position 4 nor anything before layer 2.
    assert torch.equal(runs.kept[0][1, :, 0], states[:, 0])
    assert torch.equal(runs.kept[1][1], mlp)
    assert torch.equal(runs.kept[2][1], attention)
    assert not torch.equal(runs.kept[0][1, 3, 1], states[3, 1])


def _sweep() -> list[Any]:
    sweep: list[Any] = [[BlockAttention([END], [k], [layer])] for k in range(9) for layer in ALL]
    sweep += [[ReplaceHead(layer, 1, [p], scale=0.0)] for p in (2, 5) for layer in ALL]
    return sweep


def test_chunks_give_the_same_as_one_batch(model: Any) -> None:
    whole = run(model, IDS, _sweep())
    chunked = run(model, IDS, _sweep(), memory=1)
    torch.testing.assert_close(chunked.logits, whole.logits, rtol=0, atol=1e-5)
    chosen = run(model, IDS, _sweep(), tokens=[3, 7], memory=100_000)
    assert chosen.logits.shape == (len(_sweep()), 2)
    torch.testing.assert_close(chosen.probability(7), whole.probability(7), rtol=0, atol=1e-6)
    with pytest.raises(FactvizError, match="token 5 is not among"):
        chosen.probability(5)


def test_finished_variants_stay_after_an_interrupt_and_the_rest_can_follow(model: Any) -> None:
    stop = [True]

    def function(before: Any, layer: int, positions: Any) -> Any:
        if stop[0]:
            raise KeyboardInterrupt
        return before * 2

    sweep = _sweep()
    sweep[20] = [Apply("mlp", 1, [5], function)]
    runs = prepare(model, IDS, sweep, memory=1)
    assert runs.done == 0 and bool(runs.logits.isnan().all())
    with pytest.raises(KeyboardInterrupt):
        runs.complete()
    assert runs.done == 20
    assert bool(runs.logits[:20].isfinite().all()) and bool(runs.logits[20:].isnan().all())
    bare = runs._clean.bare.network
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in bare.modules())
    stop[0] = False
    assert runs.complete().done == len(sweep)
    torch.testing.assert_close(runs.logits, run(model, IDS, sweep).logits, rtol=0, atol=1e-5)


def test_a_function_may_write_into_what_it_is_given(model: Any) -> None:
    def function(before: Any, layer: int, positions: Any) -> Any:
        assert (layer, positions, before.shape) == (1, (3, 4), (2, 32))
        return before.mul_(3)

    runs = run(
        model,
        IDS,
        [[Apply("mlp", 1, [3, 4], function)], [ReplaceSublayer("mlp", 1, [3, 4], scale=3.0)]],
    )
    torch.testing.assert_close(runs.logits[0], runs.logits[1], rtol=0, atol=1e-6)


def test_a_finished_sweep_lets_go_of_the_prefix(model: Any) -> None:
    runs = run(model, IDS, _sweep())
    assert not runs._clean.states and not hasattr(runs._clean, "_cache")
    assert runs.complete() is runs
    assert bool(runs.clean_logits.isfinite().all())


def test_two_threads_do_not_meet(model: Any) -> None:
    alone = run(model, IDS, _sweep()).logits
    found: list[Any] = []

    def work() -> None:
        found.append(run(model, IDS, _sweep(), memory=1).logits)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for logits in found:
        torch.testing.assert_close(logits, alone, rtol=0, atol=1e-5)


def test_one_token_prompts(model: Any) -> None:
    runs = run(model, [7], [[BlockAttention([0], [0], ALL)], [ReplaceHead(1, 0, [-1], scale=0.0)]])
    assert bool(runs.logits.isfinite().all())
    assert ((runs.logits - runs.clean_logits).abs().amax(-1) > 1e-3).all()
    heads = [[ReplaceHead(layer, head, [0], scale=0.0) for layer in ALL for head in range(4)]]
    torch.testing.assert_close(run(model, [7], heads).logits[0], runs.logits[0])


def test_subject_at_the_first_position_runs_the_whole_prompt(model: Any) -> None:
    sets = [[BlockAttention([0], [0], ALL)], list(cancel_updates("mlp", ALL, [0]))]
    shared, whole = (run(model, IDS, sets, share=share).logits for share in (True, False))
    torch.testing.assert_close(shared, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    model = _loaded("llama", dtype=dtype)
    variants = [[BlockAttention([END], [7, 8], ALL)], [UniformAttention(1, [END])]]
    runs = run(model, IDS, variants)
    exact = run(_loaded("llama"), IDS, variants)
    assert runs.logits.dtype == dtype
    assert runs.shared
    torch.testing.assert_close(runs.logits.float(), exact.logits, rtol=0, atol=0.15)


def test_facts_and_text_are_tokenized_as_the_model_reads_them(mini: Any) -> None:
    fact = fv.Fact("Fact: The Louvre is in the city of", "The Louvre", "Paris")
    tokens = mini.tokenize(fact)
    subject = tokens.groups["subject"]
    window = centred_window(0, mini.n_layers, mini.n_layers)
    runs = run(mini, fact, [[BlockAttention([-1], subject, window)]])
    assert runs.ids == tuple(tokens.ids)
    assert runs.top == mini.top_ids([fact], 1)[0][0]
    text = run(mini, fact.prompt, [[BlockAttention([-1], subject, window)]])
    assert torch.equal(text.logits, runs.logits)


def test_a_model_without_a_shared_cache_runs_whole_prompts_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variants = [[BlockAttention([END], [7], [0])]]
    wanted = run(_loaded("gpt2"), IDS, variants)
    monkeypatch.setattr(CleanRun, "shares", False)
    model = _loaded("gpt2")
    runs = run(model, IDS, variants)
    assert not runs.shared and runs.reason == "the model returned no cache of the whole prompt"
    torch.testing.assert_close(runs.logits, wanted.logits, rtol=0, atol=1e-5)
    with pytest.raises(FactvizError, match="uniform attention needs the value vectors"):
        run(model, IDS, [[UniformAttention(0, [END])]])


def test_a_mask_that_is_not_taken_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(self: ChangedRuns, layer: int) -> Any:
        rows = self._mask.shape[1]
        mask = self.rows._open(layer)[:, :rows, : self._mask.shape[-1]]
        return mask[None] if self.rows.share else mask.unflatten(1, (-1, 10)).transpose(0, 1)

    monkeypatch.setattr(ChangedRuns, "_block_mask", deaf)
    with pytest.raises(FactvizError, match=r"layers \[0, 1, 2\] take no attention mask"):
        run(_loaded("gpt2"), IDS, [[BlockAttention([END], [7], [0])]])


def test_blocks_that_do_not_give_the_models_logits_are_noticed() -> None:
    model = _loaded("gpt2")
    model.network.transformer.h[1].hook_out.add_hook(lambda tensor, hook: tensor * 1.5)
    with pytest.raises(FactvizError, match=r"interventions do not work on .* off by"):
        run(model, IDS, [[BlockAttention([END], [7], [0])]])


def test_nan_logits_are_refused() -> None:
    broken = tiny_model("gpt2")
    with torch.no_grad():
        broken.transformer.h[1].mlp.c_proj.bias[0] = torch.nan
    model = fv.load_model(broken, tokenizer=tiny_tokenizer())
    with pytest.raises(FactvizError, match="NaN or infinite logits on this prompt"):
        run(model, IDS, [[BlockAttention([END], [7], [0])]])


BAD: list[tuple[Any, str]] = [
    (BlockAttention([END + 1], [0], [0]), "position 10 is not in the prompt: it has 0 to 9"),
    (BlockAttention([END], [-11], [0]), "position -11"),
    (BlockAttention([END], [3, 3], [0]), "named twice"),
    (BlockAttention([END], [0], [3]), "layer 3 does not exist: the model has 0 to 2"),
    (BlockAttention([END], [0], [-1]), "layer -1 does not exist"),
    (ReplaceHead(0, 4, [END], scale=0.0), "head 4 of layer 0 does not exist"),
    (ReplaceHead(0, 0, [END]), "give either value or scale"),
    (ReplaceHead(0, 0, [END], value=1.0, scale=2.0), "give either value or scale"),
    (ReplaceHead(0, 0, [END], value=torch.zeros(9)), r"shape \[9\] does not fit .* \[1, 8\]"),
    (ReplaceHead(0, 0, [END], scale=float("nan")), "NaN or infinity"),
    (ReplaceState(0, [4], torch.full((32,), torch.inf)), "NaN or infinity"),
    (ReplaceSublayer("norm", 0, [4], scale=0.0), "kind is 'attention' or 'mlp', not 'norm'"),  # type: ignore[arg-type]
    (Apply("query", 0, [4], lambda *_: None), "place 'query' does not exist"),  # type: ignore[arg-type]
    (Apply("mlp", 0, [4], lambda *_: None), "gave None in place of a tensor"),
    (Apply("mlp", 0, [4], lambda before, *_: before[:, 1:]), r"gave \[1, 31\]"),
    (Apply("mlp", 0, [4], lambda before, *_: before * torch.nan), "NaN"),
    (ReplaceNeurons(0, [4], neurons=[999], scale=0.0), "neuron"),
    ("mask", "is no intervention"),
]


@pytest.mark.parametrize(("intervention", "message"), BAD)
def test_what_does_not_exist_is_named(model: Any, intervention: Any, message: str) -> None:
    with pytest.raises(FactvizError, match=message):
        run(model, IDS, [[intervention]])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "has no tokens"),
        ([61], "token 61 is not in the vocabulary of 61"),
        ([-1], "token -1"),
        ([1] * 33, "has 33 tokens; .* reads 32"),
        ("  ", "the prompt is empty"),
    ],
)
def test_bad_prompts(model: Any, prompt: Any, message: str) -> None:
    with pytest.raises(FactvizError, match=message):
        run(model, prompt, [[BlockAttention([-1], [0], [0])]])


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (Keep("query", [0]), "place 'query'"),  # type: ignore[arg-type]
        (Keep("mlp", [0], [3]), "layer 3 does not exist"),
        (Keep("state", [0], [4]), "layer 4 does not exist"),
        (Keep("mlp", [10]), "position 10"),
        (Keep("mlp", []), "keeps nothing"),
    ],
)
def test_bad_keeps(model: Any, keep: Keep, message: str) -> None:
    with pytest.raises(FactvizError, match=message):
        run(model, IDS, [[BlockAttention([-1], [0], [0])]], keep=[keep])


def test_windows_at_both_ends_and_wider_than_the_model() -> None:
    odd = [list(centred_window(layer, 3, 5)) for layer in range(5)]
    assert odd == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4]]
    even = [list(centred_window(layer, 2, 4)) for layer in range(4)]
    assert even == [[0], [0, 1], [1, 2], [2, 3]]
    assert list(centred_window(2, 9, 3)) == [0, 1, 2]
    assert list(centred_window(0, 1, 1)) == [0]
    assert [list(starting_window(layer, 2, 3)) for layer in range(3)] == [[0, 1], [1, 2], [2]]
    assert list(starting_window(0, 9, 3)) == [0, 1, 2]
    for width in (0, -1):
        with pytest.raises(FactvizError, match=f"a window of {width} layers holds none"):
            centred_window(1, width, 3)
    with pytest.raises(FactvizError, match="layer 3 does not exist"):
        starting_window(3, 1, 3)


def test_the_trial_is_made_once_per_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _loaded("gpt2")
    run(model, IDS, [[BlockAttention([END], [7], [0])]])
    monkeypatch.setattr(proofs, "_tried", None)
    run(model, IDS, [[BlockAttention([END], [7], [0])]])


def test_it_is_made_again_when_weights_change() -> None:
    model = _loaded("gpt2")
    variants = [[BlockAttention([END], [7], [0])]]
    before = run(model, IDS, variants).clean_logits
    part = model.bridge.blocks[1].attn.q.original_component  # of the joint QKV: plain has none
    part.weight = torch.nn.Parameter(part.weight.detach() * 2)
    with pytest.raises(FactvizError, match="off by"):
        run(model, IDS, variants)
    model = _loaded("gpt2")
    run(model, IDS, variants)
    with torch.no_grad():
        model.network.transformer.h[1].mlp.c_proj.weight.mul_(2)
    after = run(model, IDS, variants).clean_logits
    assert (after - before).abs().max() > 1e-2
