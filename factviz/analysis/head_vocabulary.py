"""What a head maps a token to, from its weights alone (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from factviz.analysis.positions import subject_positions
from factviz.analysis.provenance import RAW, provenance
from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact, check_characters
from factviz.models.factmodel import FactModel
from factviz.models.vocabulary_maps import mapped
from factviz.results.head_vocabulary import HeadVocabulary

PROJECTION = f"{RAW}; rows: raw input embedding"


def head_vocabulary(
    model: FactModel,
    layer: int,
    head: int,
    tokens: str | int | Fact | Iterable[str | int],
    *,
    k: int = 10,
) -> HeadVocabulary:
    """The tokens that a head's W_V W_O maps some tokens to.

    Row t of E · W_V W_O · W_U: raw weights, no biases, no layer norms (nor one behind the
    attention), the input embedding for rows and the output embedding for columns.

    Parameters
    ----------
    model : FactModel
    layer, head : int
        From 0.
    tokens : str, int, Fact or iterable of str and int
        Words or token ids; a `Fact` stands for its subject's tokens. A word must be one token,
        with a space in front if the vocabulary has it so (``"Italy"`` is ``" Italy"``), else as it
        stands; a word of several tokens is refused, because the map is one token's.
    k : int
        How many of each.

    Returns
    -------
    HeadVocabulary
        mapped ids and scores [token, rank], scores in units of the raw projection.

    Raises
    ------
    FactvizError
        If there is no such layer or head, a word is unknown or several tokens, or none was given.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767; the map is from
    Dar et al., *Analyzing Transformers in Embedding Space*, arXiv 2209.02535.
    """
    if k < 1:
        raise FactvizError(f"k={k} tokens cannot be shown: ask for 1 or more")
    ids = token_ids(model, tokens)
    scores, found = mapped(model, layer, head, torch.tensor(ids), k)
    if not bool(scores.isfinite().all()):
        raise FactvizError(
            f"L{layer}H{head} of {model.name} gives scores that are not finite (NaN or infinity)"
        )
    dims = ("token", "rank")
    dataset = xr.Dataset(
        {
            "score": (dims, scores.cpu().numpy()),
            "mapped_id": (dims, found.cpu().numpy()),
            "token_id": ("token", np.array(ids)),
        },
        coords={
            "token": np.arange(len(ids)),
            "rank": np.arange(1, found.shape[1] + 1),
            "token_text": ("token", np.array([token_name(model, i) for i in ids], str)),
            "mapped": (
                dims,
                np.array([[token_name(model, i) for i in row] for row in found.tolist()], str),
            ),
        },
        attrs={"layer": layer, "head": head},
    )
    return HeadVocabulary(dataset, _provenance(model, layer, head))


def _provenance(model: FactModel, layer: int, head: int) -> dict[str, Any]:
    notes: list[str] = []
    if model.geometry.layers[layer].attention_post is not None:
        notes.append("the norm behind the attention is left out")
    return provenance(
        model,
        [],
        kind=HeadVocabulary.kind,
        projection=PROJECTION,
        layer_norm="none",
        target="E · W_V W_O · W_U",
        notes=notes,
        layer=layer,
        head=head,
    )


def token_name(model: FactModel, token_id: int) -> str:
    """A token's text; ids beyond the tokenizer (padding of W_U) have none."""
    return model.tokenizer.decode([token_id]) if token_id < len(model.tokenizer) else ""


def token_ids(model: FactModel, tokens: str | int | Fact | Iterable[str | int]) -> list[int]:
    """Words, ids or a fact's subject as token ids, repeats left out."""
    if isinstance(tokens, Fact):
        found: Sequence[int] = subject_ids(model, tokens)
    else:
        items = [tokens] if isinstance(tokens, str) or not isinstance(tokens, Iterable) else tokens
        found = [_token_id(model, item) for item in items]
    if not found:
        raise FactvizError("no tokens were given: give words, token ids or a Fact")
    return list(dict.fromkeys(found))


def subject_ids(model: FactModel, fact: Fact) -> list[int]:
    """The tokens of a fact's subject, also where the prompt ends with it."""
    row = model.tokenize(fact)
    return [row.ids[position] for position in subject_positions(fact, row)]


def _token_id(model: FactModel, item: str | int) -> int:
    if not isinstance(item, str):
        size = min(len(model.tokenizer), model.d_vocab)
        if not is_whole(item):
            raise FactvizError(f"{item!r} is no token: give a word, or an id (0 to {size - 1})")
        if not 0 <= int(item) < size:
            raise FactvizError(f"token id {item} is not in the vocabulary (0 to {size - 1})")
        return int(item)
    if not item.strip():
        raise FactvizError(f"the word {item!r} is empty: give some text or a token id")
    check_characters(item, "the word")
    forms = [item] if item[0].isspace() else [f" {item}", item]
    cut = [model.tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
    known = [ids for ids in cut if model.tokenizer.unk_token_id not in ids]
    if not known:
        raise FactvizError(f"word {item!r} is not in this tokenizer's vocabulary")
    for ids in known:
        if len(ids) == 1:
            return ids[0]
    pieces = ", ".join(f"{model.tokenizer.decode([i])!r} ({i})" for i in known[0])
    raise FactvizError(
        f"word {item!r} is {len(known[0])} tokens, and a head maps one: give the id of one of "
        f"{pieces}"
    )
