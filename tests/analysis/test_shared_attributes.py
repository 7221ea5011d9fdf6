"""Heads of one layer that write the same answers."""

from __future__ import annotations

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.shared_attributes import _similarity
from factviz.results.shared_attributes import effective_number


def test_the_number_of_heads_by_hand() -> None:
    positive = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    found = effective_number(positive)
    assert found[:2].tolist() == [1, 2] and np.isnan(found[2])
    assert found[3] == pytest.approx(9 / 5)


def test_likeness_is_within_relations_and_beside_a_null() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=40)
    profile = np.zeros((40, 1, 4))
    profile[:, 0, 0] = one
    profile[:, 0, 1] = 2 * one + 0.1 * rng.normal(size=40)
    # These two agree on which relation it is, and on nothing else.
    relation = np.repeat([0.0, 9.0], 20)
    profile[:, 0, 2] = relation + rng.normal(size=40)
    profile[:, 0, 3] = relation + rng.normal(size=40)
    similar, null = _similarity(profile, ["x"] * 20 + ["y"] * 20, 0)
    assert similar[0, 0, 1] > 0.95 > null[0, 0, 1]
    assert abs(similar[0, 2, 3]) < 0.5
    np.testing.assert_allclose(np.diag(similar[0]), 1)


def test_on_the_embedded_model(mini: fv.FactModel, tmp_path: pytest.TempPathFactory) -> None:
    facts = list(fv.FactSet.builtin())[::25]
    result = fv.find_shared_attributes(mini, facts)
    frame = result.to_frame()
    assert (frame["heads"] <= 8).all() and frame["effective"].dropna().between(1, 8).all()
    layers = result.layers()
    assert layers["shared"].max() > 0  # subject heads of one layer share the work
    assert (layers["shared"] <= layers["attributes"]).all()
    plain = fv.attribute_logits(fv.trace(mini, facts)).heads.isel(attribute=0).sum("source")
    name = (str(result.dataset["relation"].values[0]), str(result.dataset["word"].values[0]))
    rows = [i for i, fact in enumerate(facts) if (fact.relation, fact.answer) == name]
    np.testing.assert_allclose(result.dla.values[0], plain.values[rows].mean(0), atol=1e-4)
    again = fv.open_result(result.view(layer=2).save(f"{tmp_path}/a.html"))
    assert again.dataset.identical(result.dataset) and again.view_options == {"layer": 2}
    assert "mini" in result._repr_mimebundle_()["text/html"]
    assert "pairs most alike" in repr(result)
    with pytest.raises(fv.FactvizError, match="no layer 6"):
        result.view(layer=6)


def test_too_few_answers(mini: fv.FactModel) -> None:
    facts = list(fv.FactSet.builtin())[:1]
    with pytest.raises(fv.FactvizError, match=r"1 answers .* too few"):
        fv.find_shared_attributes(mini, facts)
    with pytest.raises(fv.FactvizError, match="above 0"):
        fv.find_shared_attributes(mini, facts, least=0)
