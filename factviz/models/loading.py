"""`load_model`: from a name, a folder or an object to a `FactModel`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from factviz.facts.errors import FactvizError
from factviz.models import names, sources
from factviz.models.factmodel import FactModel
from factviz.models.geometry import read_geometry

# What families call their context; MPT says max_seq_len, Bloom seq_length.
_CONTEXT_FIELDS = (
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length",
    "seq_length",
)  # fmt: skip


def load_model(
    source: Any = "mini",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    step: int | None = None,
    prepend_bos: bool | None = None,
    tokenizer: Any = None,
    name: str | None = None,
    trust_remote_code: bool = False,
    **boot: Any,
) -> FactModel:
    """Load a decoder, its weights as they are: nothing is folded or centred.

    Parameters
    ----------
    source
        ``"mini"``, ``"mini-propagation"`` or ``"mini-gpt2"`` (embedded), a folder in Hugging Face
        format, a Hub name (the only case that uses the network), a transformers model (it is
        copied; yours is left alone), or a TransformerBridge (used as it is).
    device
        Such as ``"cpu"`` or ``"cuda"``; chosen by TransformerLens, or the object's own.
    dtype
        Such as ``"float64"``; float32 for what is loaded from files, or the object's own.
    step : int, optional
        A checkpoint from an embedded model's training; the model's card lists them.
    prepend_bos : bool, optional
        Put the BOS token in front of prompts; by default the model's own convention.
    tokenizer
        For objects that bring none.
    name : str, optional
        What results call the model; by default its Hub name or the folder's.
    trust_remote_code : bool
        Run code that a model folder or repository brings.
    **boot
        Passed to ``TransformerBridge.boot_transformers`` (``revision``, ``n_ctx``, …).

    Returns
    -------
    FactModel

    Raises
    ------
    FactvizError
        If there is no such model or checkpoint, its weights are pickled, or it can't be decomposed.
    """
    found = sources.find(
        source,
        tokenizer=tokenizer,
        device=device,
        dtype=_dtype(dtype),
        trust_remote_code=trust_remote_code,
        step=step,
        boot=boot,
    )
    geometry = read_geometry(found.bridge, found.architecture)
    return FactModel(
        found.bridge,
        geometry,
        found.tokenizer,
        name=name or found.name,
        architecture=found.architecture,
        bos_id=_bos_id(found, prepend_bos),
        max_length=_max_length(found.bridge),
        training=found.training,
    )


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        chosen = dtype
    else:
        chosen = getattr(torch, dtype, None)
    if dtype is not None and not (isinstance(chosen, torch.dtype) and chosen.is_floating_point):
        raise FactvizError(
            f"dtype {dtype!r} is no floating-point type: 'float32', 'float64', 'bfloat16', …"
        )
    return chosen


def _bos_id(found: sources.Found, wanted: bool | None) -> int | None:
    """The BOS token to put in front: the user's choice, else the model's own convention."""
    tokenizer = found.tokenizer
    bos = getattr(tokenizer, "bos_token_id", None)
    if wanted is None:
        return bos if bos is not None and _convention(found, bos) else None
    if wanted and bos is None:
        bos = getattr(found.bridge.original_model.config, "bos_token_id", None)
        if bos is None:
            raise FactvizError(
                f"prepend_bos=True, but the tokenizer of {names.visible(found.name)} has no BOS "
                "token: set tokenizer.bos_token"
            )
    return bos if wanted else None


def _convention(found: sources.Found, bos: int) -> bool:
    """Whether this model's prompts begin with BOS.

    Yes where the tokenizer puts it there or its file says so. A plain "no" in that file means
    little (GPT-2's says no): the family's habit, as TransformerLens knows it, then decides.
    """
    tokenizer = found.tokenizer
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    if list(tokenizer("a")["input_ids"])[: len(plain) + 1] == [bos, *plain]:
        return True
    if _file_says_bos(tokenizer):
        return True
    return bool(getattr(found.bridge.cfg, "default_prepend_bos", True))


def _file_says_bos(tokenizer: Any) -> bool:
    path = Path(str(getattr(tokenizer, "name_or_path", ""))) / "tokenizer_config.json"
    if not path.is_file():
        return False
    return json.loads(path.read_text(encoding="utf-8")).get("add_bos_token") is True


def _max_length(bridge: Any) -> int | None:
    config = bridge.original_model.config
    config = getattr(config, "text_config", None) or config
    for field in _CONTEXT_FIELDS:
        if isinstance(length := getattr(config, field, None), int):
            return length
    return None
