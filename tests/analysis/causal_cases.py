"""Facts on tiny models, and the plain Hugging Face model beside them."""

from __future__ import annotations

from typing import Any

import torch

import factviz as fv
from tests.families import tiny_model, tiny_tokenizer
from tests.interventions.plain import Plain, changed

FAMILIES = ("gpt2", "neox-parallel", "llama", "gemma2", "granite")
IDS = [0, 5, 17, 33, 8, 41, 12, 29, 55, 3]
END = len(IDS) - 1
SUBJECT = [6, 7]  # inside every family's window, as END sees it


def fact(ids: list[int] = IDS, subject: tuple[int, int] = (6, 8), answer: int = 21) -> fv.Fact:
    words = [f"w{i}" for i in ids[1:]]
    start, stop = subject
    return fv.Fact(" ".join(words), " ".join(words[start - 1 : stop - 1]), f"w{answer}")


class Case:
    """A family, loaded and plain."""

    def __init__(self, family: str, dtype: torch.dtype = torch.float32) -> None:
        plain = tiny_model(family, dtype=dtype)
        self.family = family
        self.model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
        self.plain = Plain(family, plain)
        self.layers = self.model.n_layers

    def measured(self, token: int, *changes: Any, ids: list[int] = IDS) -> tuple[float, float, int]:
        """Probability, centred logit and rank of a token, with hooks."""
        logits = self.plain.logits(ids, *changes)
        return (
            float(logits.softmax(-1)[token]),
            float(logits[token] - logits.mean()),
            int((logits > logits[token]).sum()) + 1,
        )

    def seen(self, place: str, layer: int, positions: Any, *others: Any, ids: Any = IDS) -> Any:
        """The tensor of a place in a plain run [position, width]."""
        kept: list[torch.Tensor] = []

        def look(before: torch.Tensor) -> torch.Tensor:
            kept.append(before.clone())
            return before

        self.plain.logits(ids, *others, changed(place, layer, positions, look))
        return kept[0]

    def head(self, layer: int, head: int, positions: Any, new: Any) -> Any:
        """One head's output at positions, changed."""

        def change(before: torch.Tensor) -> torch.Tensor:
            width = before.shape[-1] // self.model.n_heads
            after = before.clone()
            part = slice(head * width, (head + 1) * width)
            after[:, part] = new(before[:, part])
            return after

        return changed("heads", layer, positions, change)


def rows(result: fv.Causal, variant: str) -> Any:
    """(probability, logit, rank) of each run of a kind, of the first fact."""
    frame = result.to_frame()
    frame = frame[(frame["variant"] == variant) & (frame["fact"] == 0)]
    return frame[["probability", "logit", "rank"]].to_numpy()
