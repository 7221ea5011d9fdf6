"""The papers' own numbers on the tiny reference GPT-2, to rounding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factviz as fv

CLOSE = {"float32": 1e-5, "float64": 1e-9}


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "expected" / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=CLOSE)
def traced(request: pytest.FixtureRequest, shared: Path, expected: dict[str, Any]) -> fv.Trace:
    model = fv.load_model(shared / "expected" / "model", dtype=request.param)
    assert model.bos_id == 0  # GPT-2's habit, though its tokenizer's file does not say so
    facts = [_fact(ids) for ids in expected["prompt_token_ids"]]
    groups = {name: where for name, where in expected["groups"].items() if name != "other"}
    traced = fv.trace(model, facts, groups=groups)
    assert [list(row.ids) for row in traced.tokens] == expected["prompt_token_ids"]
    return traced


def _fact(ids: list[int]) -> fv.Fact:
    words = [f"w{i}" for i in ids[1:]]
    return fv.Fact(" ".join(words), subject=" ".join(words[1:4]), answer="w3")


@pytest.mark.parametrize(
    ("mode", "entry"), [("out", "value_bias_folded_out"), ("in", "value_bias_in_heads")]
)
def test_attribution_is_the_authors(
    traced: fv.Trace, expected: dict[str, Any], mode: Any, entry: str
) -> None:
    result = fv.attribute_logits(traced, expected["attribute_token_ids"], value_bias=mode)
    close = CLOSE[str(result.heads.dtype)]
    by_group = result.by_group().sel(group=list(expected["groups"]))
    np.testing.assert_allclose(by_group, expected["dla_by_group"][entry], atol=close, rtol=0)
    np.testing.assert_allclose(result.mlps, expected["mlp_dla"]["values"], atol=close, rtol=0)
    np.testing.assert_allclose(
        result.logits, expected["centred_logit"]["values"], atol=close, rtol=0
    )
    assert result.residual_error < close
    assert result.provenance["value_bias"] == mode


def test_the_two_modes_differ_by_what_no_token_has_a_share_in(
    traced: fv.Trace, expected: dict[str, Any]
) -> None:
    out = fv.attribute_logits(traced, expected["attribute_token_ids"])
    kept = fv.attribute_logits(traced, expected["attribute_token_ids"], value_bias="in")
    moved = kept.heads.sum(["layer", "head", "source"]) - out.heads.sum(["layer", "head", "source"])
    np.testing.assert_allclose(moved, out.bias - kept.bias, atol=1e-5)
    assert abs(moved).min() > 1e-3
