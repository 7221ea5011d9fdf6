"""Sweeps of interventions, in forward passes of the plain Hugging Face model.

Ratios in one process: the sweep and the plain forward take turns, the fastest run of each counts.
Run as `OMP_WAIT_POLICY=passive python benchmarks/interventions.py`.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import factviz as fv
from factviz.models.interventions import BlockAttention, ReplaceHead, centred_window
from factviz.models.runs import run
from tests.families import tiny_tokenizer

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
        best = interleaved(jobs)
        print(f"{length} tokens: plain forward {best['forward'] * 1e3:.1f} ms")
        for name, most in limits.items():
            ratio = best[name] / best["forward"]
            failed += ratio > most
            print(f"  {name}: {best[name] * 1e3:.1f} ms = {ratio:.2f} forwards (at most {most})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
