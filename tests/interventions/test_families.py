"""On every family, what the engine gives is what plain Hugging Face gives, one forward each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import factviz as fv
from factviz.models.interventions import (
    Apply,
    BlockAttention,
    Keep,
    ReplaceHead,
    ReplaceNeurons,
    ReplaceState,
    ReplaceSublayer,
    UniformAttention,
)
from factviz.models.runs import run
from tests.families import FAMILIES, tiny_model, tiny_tokenizer
from tests.interventions.plain import Plain, blocked, changed

IDS = [0, 5, 17, 33, 8, 41, 12, 29, 55, 3]
END = len(IDS) - 1
SUBJECT = [3, 4]
TOLERANCE = 1e-5


class Case:
    """A family's plain model, for the reference, and the same loaded."""

    def __init__(self, family: str) -> None:
        self.family = family
        plain = tiny_model(family)
        self.model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
        self.plain = Plain(family, plain)
        self.clean = self.plain.logits(IDS)

    def compare(self, pairs: list[tuple[Any, Any]], **options: Any) -> Any:
        """Run all variants at once, and each the plain way; they agree, and have an effect."""
        runs = run(self.model, IDS, [ours for ours, _ in pairs], **options)
        torch.testing.assert_close(runs.clean_logits, self.clean, rtol=0, atol=TOLERANCE)
        for number, (_, theirs) in enumerate(pairs):
            wanted = self.plain.logits(IDS, *theirs)
            assert (wanted - self.clean).abs().max() > 100 * TOLERANCE, number
            gap = (runs.logits[number] - wanted).abs().max()
            assert gap < TOLERANCE, (number, float(gap))
        return runs


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def _both(queries: list[int], keys: list[int], layers: list[int]) -> tuple[Any, Any]:
    return [BlockAttention(queries, keys, layers)], [blocked(queries, keys, layers)]


@pytest.mark.parametrize("share", [True, False])
def test_blocked_attention(case: Case, share: bool) -> None:
    near = [END - 1, END - 2]
    pairs = [_both([END], near, [layer]) for layer in range(3)]
    pairs += [
        _both([END], [0, *near], [0, 1]),
        _both([END], [END], [1, 2]),
        _both([END], list(range(END)), [0, 1, 2]),
        _both([END], list(range(END + 1)), [0]),  # nothing left: no head writes
        _both([END], list(range(END + 1)), [0, 1, 2]),
        _both([END - 1, END - 2], [*SUBJECT, 5, 6], [0, 1]),
        _both(list(range(5, END + 1)), [*SUBJECT, 5], [0]),
        _both([4], [4], [0]),
    ]
    if case.family != "mistral":  # there no path leads from the first position to END
        pairs.append(_both([0], [0], [0]))  # it sees itself only
    double = [BlockAttention([END], [7], [1]), BlockAttention([7], [5, 6], [0])]
    pairs.append((double, [blocked([END], [7], [1]), blocked([7], [5, 6], [0])]))
    runs = case.compare(pairs, share=share)
    assert runs.shared == share


@pytest.mark.parametrize("share", [True, False])
def test_replaced_and_scaled(case: Case, share: bool) -> None:
    torch.manual_seed(1)
    d_model = case.model.d_model
    vector, two = torch.randn(d_model), torch.randn(2, d_model)
    width = case.plain.part(0, "heads").weight.shape[
        0 if type(case.plain.part(0, "heads")).__name__ == "Conv1D" else 1
    ]
    d_head = width // 4
    value = torch.randn(d_head)

    def head(h: int, new: Any) -> Any:
        def change(before: Any) -> Any:
            after = before.clone()
            part = slice(h * d_head, (h + 1) * d_head)
            after[:, part] = new(before[:, part])
            return after

        return change

    def neurons(before: Any) -> Any:
        after = before.clone()
        after[:, [1, 7]] *= 3
        return after

    pairs: list[tuple[Any, Any]] = []
    for layer in range(3):
        pairs += [
            (
                [ReplaceHead(layer, 1, [END], scale=0.0)],
                [changed("heads", layer, [END], head(1, torch.zeros_like))],
            ),
            (
                [ReplaceHead(layer, 3, [END], value=value)],
                [changed("heads", layer, [END], head(3, lambda _: value))],
            ),
            (
                [ReplaceSublayer("attention", layer, [END], scale=0.0)],
                [changed("attention", layer, [END], torch.zeros_like)],
            ),
            (
                [ReplaceSublayer("mlp", layer, [END], scale=0.0)],
                [changed("mlp", layer, [END], torch.zeros_like)],
            ),
            (
                [ReplaceState(layer, [END], vector)],
                [changed("state", layer, [END], lambda before: vector.expand_as(before))],
            ),
        ]
    pairs += [
        (
            [ReplaceState(0, SUBJECT, two)],
            [changed("state", 0, SUBJECT, lambda _: two)],
        ),
        (
            [ReplaceSublayer("mlp", 0, SUBJECT, value=two)],
            [changed("mlp", 0, SUBJECT, lambda _: two)],
        ),
        (
            [ReplaceSublayer("attention", 1, [5, 6], scale=-2.0)],
            [changed("attention", 1, [5, 6], lambda before: -2 * before)],
        ),
        (
            [ReplaceNeurons(0, [6, 8], scale=0.0)],
            [changed("neurons", 0, [6, 8], torch.zeros_like)],
        ),
        (
            [ReplaceNeurons(1, [7], neurons=[1, 7], scale=3.0)],
            [changed("neurons", 1, [7], neurons)],
        ),
        (
            [Apply("heads", 0, [6, 7], lambda before, layer, positions: before.flip(0))],
            [changed("heads", 0, [6, 7], lambda before: before.flip(0))],
        ),
        (
            [Apply("mlp", 0, [6], lambda before, layer, positions: before * 0.5)],
            [changed("mlp", 0, [6], lambda before: before * 0.5)],
        ),
        (
            [ReplaceHead(1, 2, [6], scale=2.0), BlockAttention([END], [7, 8], [0, 2])],
            [
                changed("heads", 1, [6], head(2, lambda before: 2 * before)),
                blocked([END], [7, 8], [0, 2]),
            ],
        ),
    ]
    case.compare(pairs, share=share)


def test_uniform_attention_is_attention_without_scores(case: Case) -> None:
    """Reference: the mean over what is visible of rows that attend to one key alone."""
    for layer, position in [(0, 7), (1, END), (2, END)]:
        seen = case.plain.visible(layer, len(IDS))[position].nonzero()[:, 0].tolist()
        kept = Keep("heads", [position], [layer])
        alone = [[BlockAttention([position], [k for k in seen if k != j], [layer])] for j in seen]
        values = run(case.model, IDS, alone, keep=[kept]).kept[0][:, 0, 0]
        uniform = run(case.model, IDS, [[UniformAttention(layer, [position])]], keep=[kept])
        torch.testing.assert_close(uniform.kept[0][0, 0, 0], values.mean(0), rtol=0, atol=TOLERANCE)
        mean = values.mean(0)
        pairs = [
            (
                [UniformAttention(layer, [position])],
                [changed("heads", layer, [position], lambda before: mean.expand_as(before))],  # noqa: B023
            )
        ]
        case.compare(pairs)


def test_updates_are_what_is_added_to_the_residual_stream(case: Case) -> None:
    places: list[Any] = ["state", "attention", "mlp"]
    keeps = [Keep(place, range(len(IDS))) for place in places]
    variants = [[ReplaceHead(0, 1, [6], scale=3.0)], [BlockAttention([END], [END - 1], [1])]]
    runs = run(case.model, IDS, variants, keep=keeps)
    for state, attention, mlp in (runs.clean_kept, *zip(*runs.kept, strict=True)):
        assert attention.abs().max() > 1e-2 and mlp.abs().max() > 1e-2
        torch.testing.assert_close(state[:-1] + attention + mlp, state[1:], rtol=0, atol=TOLERANCE)


def test_the_model_is_left_as_it_was(case: Case) -> None:
    network = case.model.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    own = {name: sorted(vars(part)) for name, part in network.named_modules()}
    hooked = {
        name: (len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in network.named_modules()
    }
    logits = case.model.top_ids([fv.Fact("w5 w17 w33", "w17", "w3")], 61)
    run(case.model, IDS, [[BlockAttention([4], [2], [0])], [ReplaceHead(0, 0, [END], scale=0.0)]])
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert own == {name: sorted(vars(part)) for name, part in network.named_modules()}
    assert hooked == {
        name: (len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in network.named_modules()
    }
    assert logits == case.model.top_ids([fv.Fact("w5 w17 w33", "w17", "w3")], 61)
