"""Small results that add up exactly, for tests of tables, files and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from factviz.results.attribution import Attribution

TOKENS = (
    "<|endoftext|>",
    "Fact",
    ":",
    " The",
    " Col",
    "osse",
    "um",
    " is",
    " in",
    " the",
    " country",
    " of",
)
GROUPS = (
    ("bos", "prefix", "prefix", "subject", "subject", "subject", "subject")
    + ("relation",) * 4
    + ("end",)
)
WORDS = ("Italy", "Rome", "France", "Japan")
WORD_ROLES = ("answer", "same_subject", "same_relation", "same_relation")


def _padded(rows: Sequence[Sequence[Any]], width: int, fill: Any) -> np.ndarray:
    table = np.full((len(rows), width), fill, dtype=object if isinstance(fill, str) else None)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table


def provenance(facts: Sequence[Sequence[str]], **changed: Any) -> dict[str, Any]:
    return {
        "kind": "Attribution",
        "factviz": "0.1.0",
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "transformer_lens": "4.3.0",
        "model": "mini",
        "weight_hash": "0123456789abcdef",
        "projection": "P1: frozen final layer norm, centred W_U",
        "layer_norm": "frozen",
        "value_bias": "out",
        "target": "centred logit at END",
        "prepend_bos": True,
        "bos": "<|endoftext|>",
        "prompt_tokens": [list(tokens) for tokens in facts],
        "dtype": "float32",
        "created": "2025-11-20",
        "notes": [],
    } | changed


def attribution(
    tokens: Sequence[Sequence[str]] = (TOKENS,),
    groups: Sequence[Sequence[str]] = (GROUPS,),
    words: Sequence[Sequence[str]] = (WORDS,),
    roles: Sequence[Sequence[str]] = (WORD_ROLES,),
    *,
    layers: int = 6,
    heads: int = 8,
    seed: int = 0,
    dtype: Any = np.float32,
    prompts: Sequence[str] | None = None,
    single: bool | None = None,
    **changed: Any,
) -> Attribution:
    """A made-up attribution; its logits are the sums of its parts."""
    rng = np.random.default_rng(seed)
    n, t, k = len(tokens), max(map(len, words)), max(map(len, tokens))
    prompts = prompts if prompts is not None else ["".join(row[1:]) for row in tokens]
    parts = {
        "heads": rng.laplace(0, 0.02, (n, t, layers, heads, k))
        * rng.exponential(2, (1, 1, layers, heads, 1)),
        "mlps": rng.normal(0.4, 0.4, (n, t, layers)),
        "embedding": rng.normal(0, 0.1, (n, t)),
        "bias": rng.normal(0.2, 0.1, (n, t)),
    }
    parts["heads"][:, 0, layers // 2, 4 % heads, min(5, k - 1)] = 2.31
    parts["heads"][:, 0, layers // 2 - 1, 1 % heads, k - 1] = 1.1
    parts["heads"][:, 0, layers - 1, 6 % heads, min(4, k - 1)] = -0.8
    for fact in range(n):
        parts["heads"][fact, :, :, :, len(tokens[fact]) :] = np.nan
        for values in parts.values():
            values[fact, len(words[fact]) :] = np.nan
    parts = {name: values.astype(dtype) for name, values in parts.items()}
    logits = (
        np.nansum(parts["heads"].astype(np.float64), (2, 3, 4))
        + np.nansum(parts["mlps"], 2, dtype=np.float64)
        + parts["embedding"]
        + parts["bias"]
    ).astype(dtype)
    fa, fs = ("fact", "attribute"), ("fact", "source")
    shared = n == 1 or all(tuple(row) == tuple(words[0]) for row in words)
    unique = shared and len(set(words[0])) == len(words[0])
    dataset = xr.Dataset(
        {
            "heads": ((*fa, "layer", "head", "source"), parts["heads"], {"units": "logits"}),
            "mlps": ((*fa, "layer"), parts["mlps"]),
            "embedding": (fa, parts["embedding"]),
            "bias": (fa, parts["bias"]),
            "logits": (fa, logits),
            "residual": (("fact",), np.full(n, 3e-7, dtype=dtype)),
        },
        coords={
            "attribute": np.array(words[0], dtype=object) if unique else np.arange(t),
            "source": np.arange(k),
            "layer": np.arange(layers),
            "head": np.arange(heads),
            "fact": np.arange(n),
            "attribute_word": (fa, _padded(words, t, "")),
            "attribute_token": (fa, _padded([[" " + w for w in row] for row in words], t, "")),
            "attribute_id": (fa, _padded([range(7, 7 + len(row)) for row in words], t, -1)),
            "attribute_note": (fa, _padded([[""] * len(row) for row in words], t, "")),
            "role": (fa, _padded(roles, t, "")),
            "token": (fs, _padded(tokens, k, "")),
            "group": (fs, _padded(groups, k, "")),
            "prompt": ("fact", np.array(list(prompts), dtype=object)),
            "subject": ("fact", np.array(["The Colosseum"] * n, dtype=object)),
            "answer": ("fact", np.array([row[0] for row in words], dtype=object)),
        },
        attrs={"single": n == 1 if single is None else single},
    )
    return Attribution(dataset, provenance(tokens, **changed))


def several(**changed: Any) -> Attribution:
    """Three facts of different lengths, with different attributes."""
    short = (TOKENS[0], *TOKENS[3:])
    return attribution(
        (TOKENS, short, TOKENS[:1] + TOKENS[7:]),
        (GROUPS, (GROUPS[0], *GROUPS[3:]), GROUPS[:1] + GROUPS[7:]),
        (WORDS, ("Japan", "Tokyo"), ("Kenya", "Nairobi", "Peru")),
        (WORD_ROLES, ("answer", "same_subject"), ("answer", "same_subject", "same_relation")),
        **changed,
    )


def hostile(texts: Sequence[str], **changed: Any) -> Attribution:
    """Every token, word, prompt and the model's name from a list of hostile texts."""
    # xarray and pandas cannot hold half a surrogate pair, so no fact can either.
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    groups = ["bos", *["subject"] * (len(texts) - 2), "end"]
    roles = ["answer", *["same_relation"] * (len(texts) - 1)]
    return attribution(
        [list(texts)],
        [groups],
        [list(texts)],
        [roles],
        layers=2,
        heads=2,
        prompts=[" ".join(texts)],
        model=texts[0],
        notes=list(texts),
        **changed,
    )
