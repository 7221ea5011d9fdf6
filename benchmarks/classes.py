"""What `classify_heads` costs beside the bare forward passes: 500 facts on `mini`.

The bare passes are Hugging Face's own modules, without the bridge, on the same prompts in batches
of about one length, as they come (all positions' logits). Rounds are interleaved and the minimum
counts. The table with its intervals is part of the work. Run it alone:
``OMP_WAIT_POLICY=passive python benchmarks/classes.py``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import time
from collections.abc import Callable
from typing import Any

import torch

import factviz as fv
from factviz.analysis.grouped import chunks
from factviz.models.bare import BareModel

FACTS, ROUNDS, LIMIT = 500, 7, 2.0


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    model = fv.load_model()
    facts = list(fv.FactSet.builtin())[:FACTS]
    prompts = [model.tokenize(fact) for fact in facts]
    batches = [
        model.padded([prompts[i].ids for i in batch])[0] for batch in chunks(model, facts, prompts)
    ]
    plain = BareModel(model.network).network

    @torch.inference_mode()
    def forward() -> None:
        for ids in batches:
            plain(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)

    def classify() -> None:
        fv.classify_heads(model, facts).to_frame()

    times = {forward: float("inf"), classify: float("inf")}
    for work in times:
        work()
    for _ in range(ROUNDS):
        for work in times:
            times[work] = min(times[work], timed(work))
    ratio = times[classify] / times[forward]
    print(f"bare forward passes, {len(facts)} facts {times[forward] * 1e3:8.1f} ms")
    print(f"classify_heads                  {times[classify] * 1e3:8.1f} ms, {ratio:.2f} x")
    if ratio > LIMIT:
        raise SystemExit(f"over the limit: {LIMIT} x")


if __name__ == "__main__":
    main()
