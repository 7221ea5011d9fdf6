"""The packed weights of the embedded models: where they lie, and how a run is packed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factviz.models.mini.bpe import BOS, train_tokenizer
from factviz.models.mini.recipes import CONTEXT, RECIPES

WEIGHTS = Path(__file__).parent / "weights"
MANIFEST = "manifest.json"
STEPS = "steps"
"""Folder of the checkpoints from training, one folder each, named by its step."""


def read_weights(name: str) -> dict[str, Tensor]:
    """The weights of an embedded model, in float32."""
    stored = load_file(WEIGHTS / name / "model.safetensors")
    return {key: tensor.float() for key, tensor in stored.items()}


def pack(run: Path, out: Path) -> None:
    """Write a run as a model folder in Hugging Face format, its checkpoints below ``steps/``.

    Weights are rounded to float16: what is measured afterwards is what is packed.
    """
    state = json.loads((run / "state.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    config = RECIPES[state["name"]].make().config
    _write_model(out, config, state["name"], load_file(run / "model.safetensors"))
    (out / MANIFEST).write_text(json.dumps(state, indent=2) + "\n")
    for path in run.glob("step-*.safetensors"):
        step = path.stem.removeprefix("step-")
        _write_model(out / STEPS / step, config, state["name"], load_file(path))


def _write_model(out: Path, config: Any, name: str, tensors: dict[str, Tensor]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "model.safetensors"
    halves = {key: tensor.half() for key, tensor in tensors.items()}
    save_file(halves, path, metadata={"format": "pt"})
    # safetensors writes files that only their owner can read; a package is for everybody.
    path.chmod(0o644)
    # Stored as float16, computed with in float32.
    config.dtype = torch.float32
    config.architectures = [type(RECIPES[name].make()).__name__]
    config.to_json_file(out / "config.json")
    _write_tokenizer(out)


def _write_tokenizer(out: Path) -> None:
    train_tokenizer().save(str(out / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": BOS,
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
