"""A contrast is a difference of attributes, part by part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factviz.facts.errors import FactvizError
from factviz.results.opening import open_result
from tests import factories


def test_answer_against_the_mean_of_its_relation():
    result = factories.attribution()
    found = result.contrast()
    mean = (result.heads.sel(attribute="France") + result.heads.sel(attribute="Japan")) / 2
    wanted = result.heads.sel(attribute="Italy") - mean
    np.testing.assert_allclose(found.heads.isel(attribute=0), wanted, atol=1e-6)
    logits = result.logits
    difference = logits.sel(attribute="Italy") - logits.sel(attribute=["France", "Japan"]).mean()
    assert found.logits.item() == pytest.approx(float(difference), abs=1e-5)
    assert found.dataset["attribute_word"].item() == "Italy − mean of 2 same_relation"
    assert found.residual_error < 1e-4


def test_a_foil_and_another_word():
    result = factories.attribution()
    one = result.contrast("France", of="Rome")
    assert one.dataset["attribute_word"].item() == "Rome − France"
    other = result.contrast(["Rome"], of="France")
    np.testing.assert_allclose(one.mlps, -other.mlps, atol=1e-6)
    assert "as a contrast" in one.provenance["target"]


def test_every_word_asked_for_must_be_there():
    result = factories.attribution()
    for asked, said in (
        (["France", "Zzz"], "anything of 'Zzz'"),
        (["same_relation", "Rome"], "anything of 'same_relation'"),
        ([], "cannot contrast with"),
        ([5], "cannot contrast with"),
    ):
        with pytest.raises(FactvizError, match=said):
            result.contrast(asked)
    both = result.contrast(["France", "Rome"])
    mean = (result.bias.sel(attribute="France") + result.bias.sel(attribute="Rome")) / 2
    wanted = result.bias.sel(attribute="Italy") - mean
    assert both.bias.item() == pytest.approx(float(wanted), abs=1e-6)
    assert both.dataset["attribute_word"].item() == "Italy − mean of 2"


def test_the_parts_of_a_contrast_add_up_and_are_checked():
    result = factories.attribution()
    result.dataset["mlps"][:] += 1.0  # broken for all attributes alike: the contrast is whole
    assert result.contrast().residual_error < 1e-4
    result.dataset["bias"].values[0, 0] += 1.0
    assert result.contrast().residual_error == pytest.approx(1.0, abs=1e-3)


def test_what_is_not_there_is_named():
    result = factories.attribution()
    with pytest.raises(FactvizError, match="do not hold anything of 'Peru'"):
        result.contrast("Peru")
    with pytest.raises(FactvizError, match="do not hold attribute 'Peru'"):
        result.contrast(of="Peru")
    with pytest.raises(FactvizError, match="do not hold anything of 'both'"):
        result.contrast("both")


def test_a_contrast_is_a_result_like_any(tmp_path: Path):
    found = factories.attribution().contrast()
    assert "Italy − mean of 2" in repr(found)
    assert set(found.to_frame()["role"]) == {"contrast"}
    assert "text/html" in found._repr_mimebundle_()
    again = open_result(found.save(tmp_path / "contrast.html"))
    assert again.dataset.identical(found.dataset)


def test_several_facts_of_different_lengths(mini):
    import factviz as fv

    facts = fv.FactSet.builtin().select(relation="landmark_country")[:3]
    result = fv.attribute_logits(fv.trace(mini, facts))
    found = result.contrast()
    assert found.residual_error < 1e-4
    for index, fact in enumerate(facts):
        alone = fv.attribute_logits(fv.trace(mini, fact)).contrast()
        here = found.heads.isel(fact=index, source=slice(0, alone.heads.sizes["source"]))
        np.testing.assert_allclose(here, alone.heads, atol=1e-5)
