"""Train an embedded model: ``python -m factviz.models.mini.train mini --out RUN``.

A run is a matter of its recipe and its seed alone: stopped and started again with the same command,
it goes on from its last state and ends with the same weights. It runs on an accelerator where there
is one; the committed weights were trained on a CPU, in float32.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from tqdm.auto import tqdm

from factviz.models.mini.batches import Batch, Batches
from factviz.models.mini.bpe import train_tokenizer
from factviz.models.mini.corpus import Corpus
from factviz.models.mini.manifest import manifest
from factviz.models.mini.recipes import RECIPES, Recipe
from factviz.models.mini.weights import read_weights

WARM_UP, FLAT, DECAY, LOWEST = 100, 0.3, 0.1, 0.01
_SAVE_EVERY = 60.0


class Run:
    """A training run that can be stopped and resumed; its state lies in ``folder``."""

    def __init__(self, folder: Path, name: str, seed: int, *, steps: int | None = None) -> None:
        torch.manual_seed(seed)
        self.folder, self.name, self.seed = folder, name, seed
        self.recipe: Recipe = RECIPES[name]
        self.stages = ((steps, self.recipe.rate),) if steps else self.recipe.stages
        self.steps = sum(updates for updates, _ in self.stages)
        self.tokenizer: Tokenizer = train_tokenizer()
        self.device = _accelerator()
        self.model: Any = self.recipe.make()
        if self.recipe.start:
            self.model.load_state_dict(read_weights(self.recipe.start))
        self.model.to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            _groups(self.model), lr=self.recipe.rate, betas=(0.9, 0.98), fused=True
        )
        self.step, self.seconds = 0, 0.0
        if (folder / "state.json").exists():
            self._resume()

    def train(self, until: int | None = None) -> None:
        """Go on until this step, or the last one."""
        until = self.steps if until is None else until
        corpus = Corpus(self.seed, self.recipe.shares)
        batches = Batches(self.tokenizer, corpus, self.seed, self.recipe.size)
        share = self._share()
        stream = batches.since(self.step, share)
        saved = begun = time.monotonic()
        before = self.seconds
        with tqdm(total=until, initial=self.step, desc=f"{self.name}, seed {self.seed}") as bar:
            while self.step < until:
                if self._share() != share:
                    share = self._share()
                    stream = batches.since(self.step, share)
                loss = self._update(next(stream))
                self.step += 1
                self.seconds = before + time.monotonic() - begun
                bar.update()
                self._keep(loss)
                if self.step % 100 == 0:
                    bar.set_postfix(loss=f"{loss.item():.3f}")
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
        state = self._identity() | {"step": self.step, "seconds": self.seconds}
        _write(self.folder / "state.json", json.dumps(state, indent=2))

    def _identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "seed": self.seed,
            "steps": self.steps,
            "device": self.device.type,
            "manifest": manifest(self.name, self.seed),
        }

    def _resume(self) -> None:
        state = json.loads((self.folder / "state.json").read_text())
        for key in ("name", "seed", "steps"):
            if state[key] != getattr(self, key):
                raise typer.BadParameter(
                    f"{self.folder} holds a run with {key} {state[key]}, not {getattr(self, key)}"
                )
        if state["manifest"]["corpus"] != manifest(self.name, self.seed)["corpus"]:
            raise typer.BadParameter(
                f"{self.folder} was begun with other tables, wordings or recipe: begin another run"
            )
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(load_file(self.folder / "model.safetensors"))
        whole = self.optimizer.state_dict()
        for name, value in load_file(self.folder / "optimizer.safetensors").items():
            index, key = name.split(".")
            whole["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(whole)

    def _share(self) -> float:
        return self.recipe.blocked_share(self.step / self.steps)

    def _update(self, batch: Batch) -> Tensor:
        rate = _rate(self.stages, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        ids, weights = batch.ids.to(self.device), batch.weights.to(self.device)
        mask = None if batch.blocked is None else _mask(batch.blocked.to(self.device))
        states = self.model.base_model(ids[:, :-1], attention_mask=mask, use_cache=False)
        learnt = weights > 0
        logits = self.model.get_output_embeddings()(states.last_hidden_state[learnt])
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][learnt], reduction="none")
        loss = (losses * weights[learnt]).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def _keep(self, loss: Tensor) -> None:
        """The log, and the weights of the steps that are asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.step % 100 == 0:
            values = {"step": self.step, "seconds": round(self.seconds), "loss": loss.item()}
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(values) + "\n")
        if self.step in self.recipe.snapshots:
            name = f"step-{self.step}.safetensors"
            _replace(self.folder / name, dict(self.model.state_dict()))


def _accelerator() -> torch.device:
    if torch.accelerator.is_available():
        found = torch.accelerator.current_accelerator()
        if found is not None:
            return found
    return torch.device("cpu")


def _mask(blocked: Tensor) -> Tensor:
    """An additive mask [sentence, 1, query, key]: causal, and closed where it is blocked."""
    size = blocked.shape[-1]
    future = torch.ones(size, size, dtype=torch.bool, device=blocked.device).triu(1)
    closed = (blocked | future)[:, None]
    return torch.zeros(closed.shape, device=blocked.device).masked_fill(closed, -torch.inf)


def _rate(stages: Sequence[tuple[int, float]], step: int) -> float:
    """The learning rate of a step: each stage warms up, stays, and falls to almost nothing."""
    for updates, highest in stages:
        if step < updates:
            return highest * _schedule(step, step / updates)
        step -= updates
    raise ValueError("the last stage is over")


def _schedule(step: int, done: float) -> float:
    """Warm-up, a flat part, then a cosine; a share of the highest rate."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    if done < FLAT:
        return 1.0
    return LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * (done - FLAT) / (1 - FLAT)))


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
    save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, partial)
    partial.replace(path)


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def main(
    name: Annotated[str, typer.Argument(help=f"one of {', '.join(RECIPES)}")] = "mini",
    seed: Annotated[int, typer.Option(help="of weights and sentences")] = 0,
    steps: Annotated[int | None, typer.Option(help="instead of the recipe's")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the run")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    """Train a model; ``python -m factviz.analysis.cards`` measures runs and packs the best one."""
    if name not in RECIPES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(RECIPES)}")
    torch.set_num_threads(threads)
    Run(out or Path(f"{name}-{seed}"), name, seed, steps=steps).train()


if __name__ == "__main__":
    typer.run(main)
