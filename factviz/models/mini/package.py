"""Measure a trained run and pack it: ``python -m factviz.models.mini.package RUN``.

What is measured is what is packed: the weights are rounded to float16 first. The figures go into
``measured.json`` beside the weights, and the model card is written from them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from factviz.facts import builtin
from factviz.models.mini.bpe import BOS, BOS_ID, train_tokenizer
from factviz.models.mini.card import card
from factviz.models.mini.corpus import Pair, held_out_pairs, unseen_wordings
from factviz.models.mini.train import configuration

WEIGHTS = Path(__file__).parent / "weights"
_BATCH = 256


def measure(model: torch.nn.Module, tokenizer: Tokenizer, pairs: list[Pair]) -> dict[str, Any]:
    """Top-1 share and mean P(answer) of pairs, in all and by relation.

    The answer is its first token; P(answer) is a probability, averaged over pairs.
    """
    right: dict[str, list[float]] = defaultdict(list)
    probability: list[float] = []
    for pair, (top, p) in zip(pairs, _answers(model, tokenizer, pairs), strict=True):
        right[pair.row.relation].append(top)
        probability.append(p)
    every = [value for values in right.values() for value in values]
    return {
        "pairs": len(every),
        "top1": sum(every) / len(every),
        "probability": sum(probability) / len(probability),
        "by_relation": {name: sum(v) / len(v) for name, v in sorted(right.items())},
    }


@torch.inference_mode()
def _answers(
    model: torch.nn.Module, tokenizer: Tokenizer, pairs: list[Pair]
) -> list[tuple[bool, float]]:
    found: list[tuple[bool, float]] = []
    for start in range(0, len(pairs), _BATCH):
        some = pairs[start : start + _BATCH]
        ids = [
            [BOS_ID, *encoding.ids] for encoding in tokenizer.encode_batch([p.prompt for p in some])
        ]
        answers = torch.tensor([tokenizer.encode(f" {p.row.answer}").ids[0] for p in some])
        ends = torch.tensor([len(row) - 1 for row in ids])
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], True)
        logits: Tensor = model(padded, use_cache=False).logits
        p = logits[torch.arange(len(some)), ends].softmax(-1)
        p_answer = p.gather(1, answers[:, None])[:, 0]
        found += list(zip((p.argmax(-1) == answers).tolist(), p_answer.tolist(), strict=True))
    return found


def rounded_model(run: Path) -> tuple[GPTNeoXForCausalLM, dict[str, Tensor]]:
    """The run's model as it will be packed: float16 weights, computed with in float32."""
    tensors = {name: t.half() for name, t in load_file(run / "model.safetensors").items()}
    model = GPTNeoXForCausalLM(configuration())
    model.load_state_dict({name: t.float() for name, t in tensors.items()})
    return model.eval(), tensors


def pack(run: Path, out: Path) -> dict[str, Any]:
    """Write weights, tokenizer, configuration, figures and card of a run into ``out``."""
    model, tensors = rounded_model(run)
    tokenizer = train_tokenizer()
    unseen = [Pair(r, t) for r in builtin.rows() for t in unseen_wordings(r.relation)]
    state = json.loads((run / "state.json").read_text())
    measured = {
        "training": state,
        "parameters": sum(t.numel() for t in tensors.values()),
        "subjects": len({row.subject for row in builtin.rows()}),
        "facts": len(builtin.rows()),
        "wordings": sum(len(w) for w in builtin.wordings().values()),
        "held_out_pairs": measure(model, tokenizer, held_out_pairs()),
        "unseen_wordings": measure(model, tokenizer, unseen),
    }
    _write(out, model, tensors, tokenizer, measured)
    return measured


def _write(
    out: Path,
    model: GPTNeoXForCausalLM,
    tensors: dict[str, Tensor],
    tokenizer: Tokenizer,
    measured: dict[str, Any],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    # safetensors writes files that only their owner can read; a package is for everybody.
    (out / "model.safetensors").chmod(0o644)
    # Stored as float16, computed with in float32.
    model.config.dtype = torch.float32
    model.config.architectures = ["GPTNeoXForCausalLM"]
    model.config.to_json_file(out / "config.json")
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": BOS,
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": model.config.max_position_embeddings,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (out / "measured.json").write_text(json.dumps(measured, indent=2) + "\n")
    (out / "CARD.md").write_text(card(out.name, measured))


def main(
    run: Annotated[Path, typer.Argument(help="folder of a training run")],
    name: Annotated[str, typer.Option(help="name of the embedded model")] = "mini",
) -> None:
    """Measure and pack a run."""
    measured = pack(run, WEIGHTS / name)
    for key in ("held_out_pairs", "unseen_wordings"):
        typer.echo(
            f"{key}: top-1 {measured[key]['top1']:.4f}, P {measured[key]['probability']:.3f}"
        )


if __name__ == "__main__":
    typer.run(main)
