"""circuitsvis' picture of attention, on request, from its own code as installed.

circuitsvis' Python side is not used: it asks a website whether there is a network before every
output, takes its code from a CDN where there is one, and writes tokens into a script. Here its
JavaScript is read from the installed package and runs as a live widget's module; tokens and numbers
come to it as the widget's traits, never as markup and never as script. So a saved page or a
reopened notebook has none of it, but a sentence.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
import xarray as xr
from jaxtyping import Float

from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.attention import check_head, layer_attention
from factviz.models.factmodel import FactModel, check_model
from factviz.notebook.scripts import script
from factviz.results.shown import shown, token_text

MOST_CELLS = 60_000
"""heads × tokens²: beyond it, circuitsvis takes the browser more than a moment."""


@cache
def circuitsvis_code() -> str:
    """The JavaScript of the installed circuitsvis, whose Python is not even imported."""
    spec = importlib.util.find_spec("circuitsvis")
    if spec is None or spec.origin is None:
        raise FactvizError("circuitsvis is not installed: pip install 'circuitsvis>=1.43,<1.44'")
    file = Path(spec.origin).parent / "dist" / "cdn" / "iife.js"
    try:
        code = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FactvizError(
            "this circuitsvis lacks dist/cdn/iife.js: pip install 'circuitsvis>=1.43,<1.44'"
        ) from None
    # A debugger would look for the source map, and there is none where the module comes from.
    return code.partition("\n//# sourceMappingURL=")[0]


class AttentionWidget(anywidget.AnyWidget):
    """The attention of one layer's heads on one prompt, drawn by circuitsvis.

    Attributes
    ----------
    attention
        The numbers as a labelled array [head, query, key], fractions; not synchronised.
    tokens, heads, pattern, caption
        What the picture is made of: names made visible, numbers as little-endian float32.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    heads = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pattern = traitlets.Bytes().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)

    def __init__(self, attention: xr.DataArray, caption: str) -> None:
        self.attention = attention
        layer = int(attention.attrs["layer"])
        super().__init__(
            tokens=[token_text(str(text), 40) for text in attention["token"].values],
            heads=[f"L{layer}H{head}" for head in attention["head"].values],
            pattern=np.ascontiguousarray(attention.values, "<f4").tobytes(),
            caption=shown(caption),
        )

    @traitlets.default("_esm")
    def _module(self) -> str:
        return f"{circuitsvis_code()}\n{script('attention.js')}"

    def __repr__(self) -> str:
        # Also the text/plain that a reopened notebook shows in the widget's place.
        return f"{self.caption}. A live view: it needs its kernel. Run this cell again."


def show_attention(
    model: FactModel, fact: Fact, layer: int, head: int | None = None
) -> AttentionWidget:
    """What every token of a prompt attends to, by head: circuitsvis' view, as a live widget.

    The other views read END's row of attention, because the answer is written there; this shows
    the rows of all tokens. One forward pass.

    Parameters
    ----------
    model : FactModel
    fact : Fact
        One fact: of a list, choose one.
    layer : int
    head : int, optional
        All heads of the layer without it.

    Returns
    -------
    AttentionWidget
        Shows itself as the last line of a cell; ``.attention`` [head, query, key] holds the
        numbers, fractions. It is in no saved page: `profile_head` gives what can be saved.

    Raises
    ------
    FactvizError
        If ``fact`` is not one fact, there is no such layer or head, the prompt is too long for
        the model or for the picture, or the model does not show what it attends to.
    """
    _check(model, fact)
    check_head(model, layer, *([] if head is None else [head]))
    tokens = model.tokenize(fact)
    heads = list(range(model.n_heads)) if head is None else [int(head)]
    _check_size(tokens, heads)
    circuitsvis_code()  # what is not installed is better said before the model runs
    pattern = layer_attention(model, tokens.ids, layer)[heads]
    which = f"L{layer}H{head}" if head is not None else f"Layer {layer}"
    caption = f"{which}: what each token attends to, in “{fact.prompt}”, {model.name}"
    return AttentionWidget(_labelled(pattern, tokens, heads, int(layer)), caption)


def _check(model: Any, fact: Any) -> None:
    check_model(model)
    if not isinstance(fact, Fact):
        raise FactvizError(
            f"attention is shown of one Fact at a time, not of {shown(repr(fact), limit=80)}: "
            "choose one, facts[0] for example"
        )


def _check_size(tokens: PromptTokens, heads: list[int]) -> None:
    cells = len(heads) * len(tokens) ** 2
    if cells > MOST_CELLS:
        advice = "name one head, or shorten it" if len(heads) > 1 else "shorten it"
        raise FactvizError(
            f"the prompt has {len(tokens)} tokens, which makes {cells:,} cells for {len(heads)} "
            f"heads; a browser draws {MOST_CELLS:,} in good time: {advice}"
        )


def _labelled(
    pattern: Float[np.ndarray, "head query key"], tokens: PromptTokens, heads: list[int], layer: int
) -> xr.DataArray:
    positions = np.arange(len(tokens))
    texts = np.array(tokens.texts, dtype=object)
    coords = {"head": heads, "query": positions, "key": positions, "token": ("key", texts)}
    attrs = {"layer": layer, "units": "fraction"}
    return xr.DataArray(pattern, coords, ("head", "query", "key"), "attention", attrs)
