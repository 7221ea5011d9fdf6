"""The papers' own numbers, on the tiny random GPT-2 of the shared reference data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factviz
from factviz.models.interventions import (
    BlockAttention,
    cancel_updates,
    centred_window,
    starting_window,
)
from factviz.models.runs import run

TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
LAST_SUBJECT = 4


@pytest.fixture(scope="module", params=["float32", "float64"])
def reference(request: pytest.FixtureRequest, shared: Path) -> tuple[Any, dict[str, Any], float]:
    folder = shared / "expected"
    model = factviz.load_model(str(folder / "model"), dtype=request.param)
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return model, expected, TOLERANCE[request.param]


@pytest.mark.parametrize("width", [1, 3])
def test_attention_knockout(reference: Any, width: int) -> None:
    model, expected, tolerance = reference
    end = len(expected["prompt_token_ids"][0]) - 1
    sets = {
        "subject": expected["groups"]["subject"],
        "non_subject": [p for p in range(end) if p not in expected["groups"]["subject"]],
        "last": [end],
    }
    layers = range(model.n_layers)
    for ids, known in zip(
        expected["prompt_token_ids"],
        expected["attention_knockout"]["values"][f"window_{width}"],
        strict=True,
    ):
        variants = [
            [BlockAttention([end], keys, centred_window(layer, width, model.n_layers))]
            for keys in sets.values()
            for layer in layers
        ]
        runs = run(model, ids, variants)
        assert runs.shared
        assert runs.top == known["top1"]
        assert runs.clean_probability(runs.top) == pytest.approx(known["p_base"], abs=tolerance)
        found = runs.probability(runs.top).view(len(sets), -1).cpu().numpy()
        wanted = np.array([known[name] for name in sets])
        assert np.abs(wanted - known["p_base"]).min() > 1e-6
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("entry", "key", "kind", "mode"),
    [
        ("mlp_cancel_last_subject", "zero (whole update removed)", "mlp", "zero"),
        (
            "mlp_cancel_last_subject",
            "reference (pre-activation zeroed, output bias stays)",
            "mlp",
            "reference",
        ),
        ("attention_cancel_last_subject_zero", None, "attention", "zero"),
    ],
)
def test_cancelled_updates(reference: Any, entry: str, key: Any, kind: Any, mode: Any) -> None:
    model, expected, tolerance = reference
    values = expected[entry]["values"]
    for ids, known in zip(
        expected["prompt_token_ids"], values if key is None else values[key], strict=True
    ):
        variants = [
            cancel_updates(
                kind,
                starting_window(layer, expected[entry]["window"], model.n_layers),
                [LAST_SUBJECT],
                mode=mode,
            )
            for layer in range(model.n_layers)
        ]
        runs = run(model, ids, variants)
        found = runs.probability(runs.top).cpu().numpy()
        np.testing.assert_allclose(found, known, rtol=0, atol=tolerance)
        assert np.abs(found[:-1] - runs.clean_probability(runs.top)).min() > 1e-5
