"""What attribution costs beside one plain forward pass: time and peak memory.

A GPT-2-small-sized random model, 16 tokens, 100 attributes. Runs are interleaved and the minimum
counts; the plain pass is Hugging Face's own, on the same weights, as it comes (all positions'
logits). Run it alone: ``OMP_WAIT_POLICY=passive python benchmarks/attribution.py``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import factviz as fv

TOKENS, ATTRIBUTES, ROUNDS = 16, 100, 15
TIME_LIMIT, MEMORY_LIMIT = 1.3, 50.0


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(size - 1)} | {"<|endoftext|>": size - 1}
    made = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|endoftext|>")


def resident() -> float:
    """This process's resident memory, MB."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak(work: Callable[[], Any]) -> float:
    """The most resident memory during some work, above what was there before, MB."""
    gc.collect()
    before, highest, done = resident(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, resident())
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return highest - before


def allocated(work: Callable[[], Any]) -> float:
    """The most that torch's own allocations came to at once during some work, MB."""
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    now = highest = 0
    events = (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return highest / 2**20


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def tiny() -> fv.FactModel:
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64)
    return fv.load_model(GPT2LMHeadModel(config), tokenizer=tokenizer(64))


def main() -> None:
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(GPT2Config()).eval()
    words = tokenizer(plain.config.vocab_size)
    model = fv.load_model(plain, tokenizer=words)
    fact = fv.Fact(" ".join(f"w{i}" for i in range(100, 99 + TOKENS)), "w103 w104", "w7")
    ids = torch.tensor([model.tokenize(fact).ids])
    chosen = list(range(1000, 1000 + ATTRIBUTES))
    assert ids.shape[1] == TOKENS

    @torch.inference_mode()
    def forward() -> None:
        plain(ids)

    def attribute() -> None:
        fv.attribute_logits(fv.trace(model, fact), chosen)

    forward()
    # What the packages themselves weigh is not the method's: a tiny run imports them.
    fv.attribute_logits(fv.trace(tiny(), fv.Fact("w1 w2", "w1", "w3")))
    started = time.perf_counter()
    extra = peak(attribute)  # the first call: hashes the weights and averages W_U, once
    warm = time.perf_counter() - started
    times = {forward: float("inf"), attribute: float("inf")}
    for _ in range(ROUNDS):
        for work in (forward, attribute):
            times[work] = min(times[work], timed(work))
    ratio = times[attribute] / times[forward]
    print(f"plain forward pass         {times[forward] * 1e3:8.1f} ms")
    print(f"trace + attribute_logits   {times[attribute] * 1e3:8.1f} ms, {ratio:.2f} x")
    print(f"first call, with hashing   {warm * 1e3:8.1f} ms")
    own = allocated(attribute)
    print(f"peak extra resident memory {extra:8.1f} MB (first call)")
    print(f"peak torch allocations     {own:8.1f} MB (a plain pass: {allocated(forward):.1f} MB)")
    if ratio > TIME_LIMIT or max(extra, own) > MEMORY_LIMIT:
        raise SystemExit(f"over the limit: {TIME_LIMIT} x, {MEMORY_LIMIT} MB")


if __name__ == "__main__":
    main()
