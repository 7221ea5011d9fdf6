"""Whether a checkpoint and its config.json speak of the same model.

transformers fills weights that a checkpoint lacks with random numbers, and drops those that the
config has no place for: the numbers of such a model look like any other's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from factviz.facts.errors import FactvizError

_SHOWN = 3
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def check_complete(model: nn.Module, info: dict[str, Any], where: str) -> None:
    """Refuse a model whose weights are not those of its checkpoint.

    Parameters
    ----------
    model
        As transformers loaded it.
    info
        Its ``output_loading_info``: tied heads and what the family ignores are out of it already.
    where
        The folder or the Hub name.

    Raises
    ------
    FactvizError
        Naming the weights that are missing, of another shape, or left over.
    """
    wrong = {
        "lacks": list(info["missing_keys"]),
        "has in another shape": [key for key, *_ in info["mismatched_keys"]],
        "has beyond the model": _left_over(model, info["unexpected_keys"]),
    }
    for what, keys in wrong.items():
        if keys:
            raise FactvizError(
                f"the weights in {where!r} do not fit its config.json: the checkpoint {what} "
                f"{_listed(keys)}; save model and config together with model.save_pretrained"
            )


def _listed(keys: Iterable[str]) -> str:
    first, *more = sorted(keys, key=_by_number)
    named = ", ".join(repr(key) for key in [first, *more[: _SHOWN - 1]])
    return f"{named} and {len(more) + 1 - _SHOWN} more" if len(more) >= _SHOWN else named


def _by_number(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in key.split(".")]


def _left_over(model: nn.Module, keys: Iterable[str]) -> list[str]:
    """Keys that are weights of this model's parts, or of further layers.

    Not so old buffers (GPT-2's ``attn.bias``, ``rotary_emb.inv_freq``) and whatever stands beside
    the model (a value head, a vision tower).
    """
    prefix = f"{getattr(model, 'base_model_prefix', '')}."

    def kind(name: str) -> str:
        return _NUMBER.sub("*", f".{name.removeprefix(prefix)}")

    own = {kind(name) for name in model.state_dict()}
    modules = {kind(name): module for name, module in model.named_modules()}
    return [key for key in keys if kind(key) in own or _is_weight(kind(key), modules)]


def _is_weight(kind: str, modules: dict[str, nn.Module]) -> bool:
    """Whether a key of no known kind is a weight inside a part that the model has."""
    owner, _, leaf = kind.rpartition(".")
    if leaf not in ("weight", "bias"):
        return False
    if owner in modules:  # a module without weights of its own had a buffer of that name
        return any(True for _ in modules[owner].parameters(recurse=False))
    block, star, _ = owner.rpartition(".*")
    return bool(star) and block + star in modules
