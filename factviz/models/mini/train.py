"""Train an embedded model from nothing, on a CPU: ``python -m factviz.models.mini.train``.

The schedule follows the time spent, so that ``--minutes`` is what it says on a slow machine too;
with ``--steps`` it follows the steps instead and is exactly repeatable. A run that was stopped
goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from factviz.models.mini.batches import Batch, batches
from factviz.models.mini.bpe import BOS_ID, VOCABULARY, train_tokenizer

RATE, WARM_UP, FLAT, DECAY, SIZE = 2e-3, 100, 0.3, 0.1, 96
_SAVE_EVERY = 60.0


def configuration() -> GPTNeoXConfig:
    """A small GPT-NeoX with parallel blocks and untied embeddings."""
    return GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=768,
        max_position_embeddings=128,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
    )


class Run:
    """A training run that can be stopped and resumed; its state lies in ``folder``."""

    def __init__(self, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.folder, self.seed = folder, seed
        self.tokenizer: Tokenizer = train_tokenizer()
        self.model = GPTNeoXForCausalLM(configuration())
        # Faster than SDPA for sentences this short.
        self.model.set_attn_implementation("eager")
        self.optimizer = torch.optim.AdamW(_groups(self.model), lr=RATE, betas=(0.9, 0.98))
        self.step, self.seconds = 0, 0.0
        if (folder / "state.json").exists():
            self._resume()

    def train(self, *, minutes: float, steps: int | None) -> None:
        """Go on until the time, or the number of steps, is reached."""
        stream = batches(self.tokenizer, self.seed, SIZE)
        for _ in range(self.step):
            next(stream)
        saved = begun = time.monotonic()
        before = self.seconds
        while (done := self._progress(minutes, steps)) < 1:
            loss = self._update(next(stream), _rate(self.step, done))
            self.step += 1
            self.seconds = before + time.monotonic() - begun
            if self.step % 100 == 0:
                self._log(step=self.step, seconds=round(self.seconds), loss=round(loss, 4))
            if time.monotonic() - saved > _SAVE_EVERY:
                self.save()
                saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Write model, optimizer and counters; each file is replaced whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(self.folder / "model.safetensors", dict(self.model.state_dict()))
        _replace(
            self.folder / "optimizer.safetensors", _flatten(self.optimizer.state_dict()["state"])
        )
        state = {"step": self.step, "seconds": self.seconds, "seed": self.seed}
        (self.folder / "state.json").write_text(json.dumps(state))

    def _resume(self) -> None:
        state = json.loads((self.folder / "state.json").read_text())
        if state["seed"] != self.seed:
            raise typer.BadParameter(f"{self.folder} holds a run with seed {state['seed']}")
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(load_file(self.folder / "model.safetensors"))
        flat = load_file(self.folder / "optimizer.safetensors")
        whole = self.optimizer.state_dict()
        for name, value in flat.items():
            index, key = name.split(".")
            whole["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(whole)

    def _progress(self, minutes: float, steps: int | None) -> float:
        return self.step / steps if steps else self.seconds / (60 * minutes)

    def _update(self, batch: Batch, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(batch.ids[:, :-1], use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
        )
        weights = batch.weights.flatten()
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _log(self, **values: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")


def _rate(step: int, done: float) -> float:
    """Warm-up, a flat part, then a cosine to nothing."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    if done < FLAT:
        return RATE
    return RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - FLAT) / (1 - FLAT))))


def _groups(model: torch.nn.Module) -> list[dict[str, object]]:
    """Weight decay on matrices only."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


def _flatten(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{index}.{key}": value for index, slot in state.items() for key, value in slot.items()}


def _replace(path: Path, tensors: dict[str, Tensor]) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial)
    partial.replace(path)


def main(
    minutes: Annotated[float, typer.Option(help="time for training, resumed time included")] = 15,
    seed: Annotated[int, typer.Option(help="of weights and sentences")] = 0,
    steps: Annotated[int | None, typer.Option(help="train so many steps instead")] = None,
    out: Annotated[Path, typer.Option(help="folder of the run")] = Path("mini-run"),
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
) -> None:
    """Train `mini`; afterwards ``python -m factviz.models.mini.package`` measures and packs it."""
    torch.set_num_threads(threads)
    Run(out, seed).train(minutes=minutes, steps=steps)


if __name__ == "__main__":
    typer.run(main)
