"""Sweeps of interventions, in forward passes of the plain Hugging Face model.

Ratios in one process: the sweep and the plain forward take turns, the fastest run of each counts.
Run as `OMP_WAIT_POLICY=passive python benchmarks/interventions.py`.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import copy
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import factviz as fv
from factviz.models.interventions import (
    BlockAttention,
    ReplaceHead,
    cancel_updates,
    centred_window,
    starting_window,
)
from factviz.models.runs import run
from tests.families import tiny_tokenizer
from tests.interventions.plain import Plain, blocked

ROUNDS = 7


def interleaved(jobs: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """The fastest run of each job, in seconds; the first round only warms up."""
    best = dict.fromkeys(jobs, float("inf"))
    for number in range(rounds + 1):
        for name, job in jobs.items():
            gc.collect()
            start = time.perf_counter()
            job()
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def knockout(model: Any, ids: list[int], width: int) -> Callable[[], Any]:
    """P3's sweep: END may not read the subject, the rest, or itself, around every layer."""
    end = len(ids) - 1
    subject = [2, 3, 4]
    rest = [p for p in range(end) if p not in subject]
    variants = [
        [BlockAttention([end], keys, centred_window(layer, width, model.n_layers))]
        for keys in (subject, rest, [end])
        for layer in range(model.n_layers)
    ]

    def job() -> Any:
        runs = run(model, ids, variants)
        return runs.probability(runs.top)

    return job


def every_head(model: Any, ids: list[int]) -> Callable[[], Any]:
    value = torch.randn(model.d_model // model.n_heads, generator=torch.Generator().manual_seed(0))
    variants = [
        [ReplaceHead(layer, head, [-1], value=value)]
        for layer in range(model.n_layers)
        for head in range(model.n_heads)
    ]

    def job() -> Any:
        runs = run(model, ids, variants)
        return runs.probability(runs.top)

    return job


def heat_map(model: Any, ids: list[int]) -> Callable[[], Any]:
    """Every single token hidden from END, around every layer."""
    variants = [
        [BlockAttention([-1], [key], centred_window(layer, 3, model.n_layers))]
        for key in range(len(ids))
        for layer in range(model.n_layers)
    ]
    return lambda: run(model, ids, variants, tokens=[7])


def subject_mlps(model: Any, ids: list[int]) -> Callable[[], Any]:
    """The last subject token's MLP updates removed, two layers at a time: suffixes run."""
    variants = [
        cancel_updates("mlp", starting_window(layer, 2, model.n_layers), [4])
        for layer in range(model.n_layers)
    ]
    return lambda: run(model, ids, variants, tokens=[7])


def agreement(plain: Any, model: Any, ids: list[int]) -> float:
    """The largest difference in logits to one plain forward per variant, over a few variants."""
    reference, end = Plain("gpt2", plain), len(ids) - 1
    edges = [([2, 3, 4], [0, 1]), ([end], range(12)), (list(range(end)), range(12))]
    runs = run(model, ids, [[BlockAttention([end], keys, layers)] for keys, layers in edges])
    worst = 0.0
    for number, (keys, layers) in enumerate(edges):
        wanted = reference.logits(ids, blocked([end], keys, layers))
        assert (wanted - runs.clean_logits).abs().max() > 1e-2
        worst = max(worst, float((runs.logits[number] - wanted).abs().max()))
    return worst


def main() -> int:
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(GPT2Config()).eval()
    model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
    failed = 0
    for length, limit in ((16, 2.5), (128, 1.5)):
        ids = torch.randint(1, 50257, (length,)).tolist()
        batch = torch.tensor([ids])

        @torch.inference_mode()
        def forward(batch: torch.Tensor = batch) -> Any:
            return plain(input_ids=batch)

        jobs = {"forward": forward}
        limits = {"knockout, window 1": limit, "knockout, window 3": limit}
        jobs["knockout, window 1"] = knockout(model, ids, 1)
        jobs["knockout, window 3"] = knockout(model, ids, 3)
        if length == 16:
            jobs["every head (144)"] = every_head(model, ids)
            limits["every head (144)"] = 8.0
            jobs["token × layer heat map (192)"] = heat_map(model, ids)
            jobs["subject MLPs (12 × 12 tokens)"] = subject_mlps(model, ids)
        best = interleaved(jobs)
        print(f"{length} tokens: plain forward {best['forward'] * 1e3:.1f} ms")
        worst = agreement(copy.deepcopy(plain), model, ids)
        failed += worst > 1e-5
        print(f"  worst difference to the plain loop: {worst:.1e} (at most 1e-05)")
        for name in list(jobs)[1:]:
            ratio, most = best[name] / best["forward"], limits.get(name)
            failed += most is not None and ratio > most
            limit_text = "" if most is None else f" (at most {most})"
            print(f"  {name}: {best[name] * 1e3:.1f} ms = {ratio:.2f} forwards{limit_text}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
