"""circuitsvis' view of attention: its numbers, its text, and where it gets its code."""

from __future__ import annotations

import json
import socket
import urllib.request
from importlib import metadata
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.notebook import attention as view
from factviz.results.shown import shown
from tests.families import tiny_model, tiny_tokenizer
from tests.hostile import HOSTILE

FACT = fv.Fact("Fact: The Colosseum is in the country of", subject="The Colosseum", answer="Italy")


# Half a surrogate pair is no text, and 400 words are more than the model reads.
REFUSED = [text for text in HOSTILE if text == "\ud83d" or len(text) > 1000]


def hostile(text: str) -> fv.Fact:
    prompt = f"{text} The Colosseum is in the country of"
    return fv.Fact(prompt, subject="The Colosseum", answer="Italy")


def shipped(name: str) -> str:
    (file,) = (f for f in metadata.files("circuitsvis") or [] if f.name == name)
    return file.read_text(encoding="utf-8")


def numbers(widget: view.AttentionWidget) -> np.ndarray:
    """What the front end reads out of the bytes."""
    shape = (len(widget.heads), len(widget.tokens), len(widget.tokens))
    return np.frombuffer(widget.pattern, "<f4").reshape(shape)


@pytest.mark.parametrize("layer", [0, 3])
def test_the_pattern_is_the_bridges_own(mini: fv.FactModel, layer: int) -> None:
    widget = fv.show_attention(mini, FACT, layer)
    ids = torch.tensor([mini.tokenize(FACT).ids])
    _, cache = mini.bridge.run_with_cache(ids, prepend_bos=False)
    wanted = cache[f"blocks.{layer}.attn.hook_pattern"][0].float().numpy()
    np.testing.assert_allclose(widget.attention.values, wanted, atol=1e-6)
    np.testing.assert_array_equal(numbers(widget), widget.attention.values)
    assert widget.attention.dims == ("head", "query", "key")
    assert widget.attention["token"].values.tolist() == list(mini.tokenize(FACT).texts)
    assert widget.tokens[3] == "·The"
    assert widget.heads == [f"L{layer}H{head}" for head in range(mini.n_heads)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "neox-parallel"])
def test_ends_row_is_the_traces_in_other_families(family: str) -> None:
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer())
    fact = fv.Fact("w5 w6 w7 w8 w9 w10", "w6 w7", "w20")
    found = fv.show_attention(model, fact, 1).attention
    np.testing.assert_allclose(found[:, -1], fv.trace(model, fact).pattern[0, 1], atol=1e-6)
    np.testing.assert_allclose(found.sum("key"), 1, atol=1e-5)
    assert not np.triu(found.values, 1).any()


def test_one_head_alone(mini: fv.FactModel) -> None:
    widget = fv.show_attention(mini, FACT, 3, 4)
    whole = fv.show_attention(mini, FACT, 3)
    assert widget.heads == ["L3H4"]
    np.testing.assert_array_equal(widget.attention[0], whole.attention.sel(head=4))


def test_one_forward_pass_and_no_hooks_left(mini: fv.FactModel) -> None:
    runs: list[int] = []
    handle = mini.geometry.unembed.register_forward_hook(lambda *_: runs.append(1))
    fv.show_attention(mini, FACT, 2)
    handle.remove()
    assert runs == [1]
    assert not mini.geometry.layers[2].attention._forward_hooks


def test_nothing_is_fetched(mini: fv.FactModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    view.circuitsvis_code.cache_clear()
    widget = fv.show_attention(mini, FACT, 1)
    assert widget._esm.startswith(shipped("iife.js")[:1000])
    assert "unpkg" not in widget._esm and "sourceMappingURL" not in widget._esm
    assert set(widget._repr_mimebundle_()[0]) == {
        "text/plain",
        "application/vnd.jupyter.widget-view+json",
    }


@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in REFUSED])
def test_hostile_text_is_no_code(mini: fv.FactModel, text: str) -> None:
    widget = fv.show_attention(mini, hostile(text), 3, 4)
    assert widget._esm == fv.show_attention(mini, FACT, 3, 4)._esm
    for told in (*widget.tokens, widget.caption):
        assert told == shown(told)  # nothing invisible is left in it
    carrying = {name for name, value in widget.get_state().items() if "Colosseum is" in str(value)}
    assert carrying == {"caption"}


@pytest.mark.parametrize("text", REFUSED)
def test_hostile_text_is_refused_in_one_line(mini: fv.FactModel, text: str) -> None:
    with pytest.raises(fv.FactvizError) as error:
        fv.show_attention(mini, hostile(text), 3, 4)
    assert "\n" not in str(error.value)


def test_what_a_reopened_notebook_shows_is_a_sentence(mini: fv.FactModel) -> None:
    text = fv.show_attention(mini, FACT, 3)._repr_mimebundle_()[0]["text/plain"]
    assert text.startswith("Layer 3: what each token attends to, in “Fact: The Colosseum")
    assert text.endswith("Run this cell again.")
    assert "\n" not in text


def test_the_components_in_use_write_text_as_text() -> None:
    """AttentionPatterns does not: a new circuitsvis must be looked at before it is let in."""
    sources = json.loads(shipped("iife.js.map"))
    found = {
        name.rpartition("/")[2]: text
        for name, text in zip(sources["sources"], sources["sourcesContent"], strict=True)
        if "/src/attention/" in name
    }
    assert "dangerouslySetInnerHTML" in found["AttentionTokens.tsx"]
    for name in ("AttentionHeads.tsx", "AttentionPattern.tsx"):
        assert "dangerouslySetInnerHTML" not in found[name]
        assert "AttentionTokens" not in found[name]
    used = view.script("attention.js").split("CircuitsVis.")[1:]
    assert {text.split()[0].rstrip(",;(") for text in used} <= {
        "AttentionHeads",
        "AttentionPattern",
        "render(PLACE",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((FACT, 99), "layer 99 does not exist: mini has layers 0 to 5"),
        ((FACT, -1), "layer -1 does not exist"),
        ((FACT, 0, 8), "L0H8 does not exist: mini has heads 0 to 7"),
        ((FACT, "3"), "layer='3' is no number of a layer"),
        ((FACT, 0, True), "head=True is no number of a head"),
        (([FACT, FACT], 0), "one Fact at a time"),
        ((fv.FactSet([FACT]), 0), "one Fact at a time"),
        (("The Colosseum is in", 0), "one Fact at a time"),
        ((FACT.replace(prompt=FACT.prompt + " a" * 100), 0), "name one head, or shorten it"),
        ((FACT.replace(prompt=FACT.prompt + " a" * 5000), 0), "shorten"),
    ],
)
def test_errors_are_one_line(mini: fv.FactModel, arguments: Any, said: str) -> None:
    with pytest.raises(fv.FactvizError) as error:
        fv.show_attention(mini, *arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_model_and_what_is_not_installed(
    mini: fv.FactModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(fv.FactvizError, match="give what load_model gives"):
        fv.show_attention("mini", FACT, 0)  # type: ignore[arg-type]
    view.circuitsvis_code.cache_clear()
    monkeypatch.setattr(view.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(fv.FactvizError, match="pip install 'circuitsvis"):
        fv.show_attention(mini, FACT, 0)
