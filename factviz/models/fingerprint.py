"""Which weights a result came from: a hash of all parameters, cached until one of them changes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

_SLICE = 1 << 18


def state(tensor: Tensor | None) -> tuple[int, int]:
    """Something that changes when a tensor is replaced or written to in place."""
    if tensor is None:
        return 0, 0
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


class Fingerprint:
    """The hash of a model's parameters, kept until one of them is replaced or written to."""

    def __init__(self, model: nn.Module) -> None:
        # Who holds the parameters: walking all modules each time would cost more than the rest of
        # an attribution's bookkeeping.
        self._places = _places(model)
        self._key: Any = None
        self._hash = ""

    def value(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of all parameters."""
        tensors = [getattr(module, name).detach() for module, name in self._places.values()]
        key = [state(tensor) for tensor in tensors]
        if key != self._key:
            self._key, self._hash = key, _hash(list(self._places), tensors)
        return self._hash


def _hash(names: list[str], tensors: list[Tensor]) -> str:
    # hashlib lets go of the interpreter's lock, so tensors are hashed side by side.
    with ThreadPoolExecutor(max_workers=4) as pool:
        parts = list(pool.map(_digest, tensors))
    whole = hashlib.sha256()
    for name, part in zip(names, parts, strict=True):
        whole.update(f"{name}\0".encode() + part)
    return whole.hexdigest()


def _places(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """The module that holds each parameter, by the name it has without a bridge."""
    found: dict[str, tuple[nn.Module, str]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, _ in module.named_parameters(recurse=False):
            plain = f"{prefix}.{name}".replace("_original_component.", "")
            found.setdefault(plain, (module, name))
    return dict(sorted(found.items()))


def _digest(tensor: Tensor) -> bytes:
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    rows = tensor.reshape(1) if tensor.ndim == 0 else tensor
    # In small pieces: a tensor that is a transposed view would be copied whole otherwise.
    count = max(1, _SLICE // max(1, rows[0].numel()))
    for piece in rows.split(count):
        held = piece.cpu().contiguous().view(-1)
        digest.update(held.view(torch.uint8).numpy().data)
    return digest.digest()
