from __future__ import annotations

import numpy as np
import pytest
import torch

import factviz
from factviz.analysis.positions import named_positions
from factviz.analysis.vocabularies import kept_tokens
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.geometry import linear_bias, linear_weight
from factviz.models.states import output_map, record_states
from tests.families import tiny_model, tiny_tokenizer

FACTS = [
    Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r", same_subject=("w12", "w5")),
    Fact("w21 w22 w23", "w21", "w33", relation="r", same_subject=("w34",)),
    Fact("w21 w24", "w21", "w34", relation="q", same_subject=("w33",)),
    Fact("w40 w41 w42", "w40 w41", "w51", relation="q"),
]
OWN = [{11, 12}, {33, 34}, {33, 34}, {51}]  # w5 has two characters


def tiny(family: str, dtype: torch.dtype = torch.float64):
    model = tiny_model(family, dtype=dtype)
    return factviz.load_model(model, tokenizer=tiny_tokenizer(), prepend_bos=True, name=family)


def top(scores: torch.Tensor, k: int) -> list[int]:
    """By hand: best first, w1 to w9 (two characters) and BOS dropped."""
    return [i for i in scores.argsort(descending=True).tolist() if i >= 10][:k]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_rates_by_hand(family):
    model, k = tiny(family), 7
    found = factviz.attributes_rate(model, FACTS, top_k=k)
    states = record_states(model, [model.tokenize(f).ids for f in FACTS]).residual
    output = model.network.get_output_embeddings().weight.detach()
    embedding = model.network.get_input_embeddings().weight.detach()
    at = {"subject_last": [3, 1, 1, 2], "subject_first": [2, 1, 1, 1],
          "after_subject": [4, 2, 2, 3], "end": [5, 3, 2, 3]}  # fmt: skip
    subjects = [{11, 12}, {33, 34}, {51}]
    owner = [0, 1, 1, 2]
    for name, positions in at.items():
        for fact, position in enumerate(positions):
            for layer in range(-1, 3):
                best = set(top(output @ states[fact, layer + 1, position], k))
                hits = len(best & OWN[fact])
                mine = found.dataset.sel(fact=fact, position=name, layer=layer)
                assert float(mine["precision"]) == pytest.approx(hits / k)
                assert float(mine["recall"]) == pytest.approx(hits / len(OWN[fact]))
                chance = len(OWN[fact]) / 51
                assert float(mine["lift"]) == pytest.approx(hits / k / chance)
                others = [s for i, s in enumerate(subjects) if i != owner[fact]]
                assert float(mine["precision_shuffled"]) == pytest.approx(
                    np.mean([len(best & words) / k for words in others])
                )
                assert float(mine["recall_shuffled"]) == pytest.approx(
                    np.mean([len(best & words) / len(words) for words in others])
                )
    mean = embedding[[16, 17]].mean(0)
    hits = len(set(top(output @ mean, k)) & OWN[0])
    assert float(found.dataset["precision_embedding"][0]) == pytest.approx(hits / k)
    assert any("1 of 4 vocabularies lost" in line for line in found.provenance["notes"])


def test_a_state_written_out():
    """A model whose blocks write nothing, and whose output embedding names one token per token."""
    model = tiny("llama")
    inner = model.network
    with torch.no_grad():
        for layer in inner.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        inner.get_input_embeddings().weight.zero_()
        inner.get_input_embeddings().weight[17, 0] = 1.0  # the last subject token: dimension 0
        inner.lm_head.weight.zero_()
        inner.lm_head.weight[11, 0] = 5.0
        inner.lm_head.weight[9, 0] = 9.0  # w9 has two characters: dropped, not counted as a miss
    found = factviz.attributes_rate(model, FACTS[0], top_k=1)
    last = found.dataset.isel(fact=0).sel(position="subject_last")
    assert (last["precision"] == 1).all() and (last["recall"] == 0.5).all()
    np.testing.assert_allclose(last["lift"], 51 / 2)


def test_positions_where_the_subject_ends_the_prompt():
    model = tiny("gpt2")
    fact = Fact("w20 w21 w22", "w21 w22", "w33", same_subject=("w34",))
    row = model.tokenize(fact)
    assert named_positions(fact, row) == {"subject_last": 3, "subject_first": 2, "end": 3}
    found = factviz.attributes_rate(model, fact)
    assert np.isnan(found.recall.sel(position="after_subject")).all()
    assert "after_subject" not in set(found.to_frame()["position"])
    one = Fact("w22", "w22", "w33")
    assert named_positions(one, model.tokenize(one)) == {
        "subject_last": 1,
        "subject_first": 1,
        "end": 1,
    }


def test_the_table_and_the_shapes():
    found = factviz.attributes_rate(tiny("gpt2"), FACTS)
    frame = found.to_frame()
    assert list(frame.columns[:6]) == ["fact", "position", "layer", "precision", "recall", "lift"]
    assert len(frame) == 4 * 4 * 4 and not frame.isna().any().any()
    assert found.precision.dims == ("fact", "position", "layer")
    one = factviz.attributes_rate(tiny("gpt2"), FACTS[0])
    assert one.precision.dims == ("position", "layer")
    assert one.to_frame()["precision_shuffled"].isna().all()
    assert any("one subject only" in note for note in one.provenance["notes"])
    assert any("small" in note for note in found.provenance["notes"])
    assert found.provenance["projection"].startswith("P3: raw output embedding, no layer norm")


def test_top_k_is_cut_to_what_there_is():
    found = factviz.attributes_rate(tiny("gpt2"), FACTS, top_k=500)
    assert found.dataset.attrs["top_k"] == 51
    assert (found.recall == 1).all() and np.allclose(found.lift, 1)


@pytest.mark.parametrize("form", ["mapping of text", "mapping of words", "csv", "csv text", "txt"])
def test_vocabularies_of_all_forms(form, tmp_path):
    model = tiny("gpt2")
    texts = {"w16 w17": "w11 w12 w3", "w21": "w33 w34", "w40 w41": "w51"}
    if form == "mapping of text":
        given = texts
    elif form == "mapping of words":
        given = {name: text.split() for name, text in texts.items()}
    elif form == "csv":
        given = tmp_path / "words.csv"
        rows = [f"{name},{word}" for name, text in texts.items() for word in text.split()]
        given.write_text("subject,word\n" + "\n".join(rows), encoding="utf-8")
    elif form == "csv text":
        given = str(tmp_path / "texts.csv")
        rows = [f"{name},{text}" for name, text in texts.items()]
        (tmp_path / "texts.csv").write_text("subject,text\n" + "\n".join(rows), encoding="utf-8")
    else:
        given = tmp_path / "all.txt"
        given.write_text("w11 w12 w33 w34 w51", encoding="utf-8")
    found = factviz.attributes_rate(model, FACTS, vocabulary=given)
    own = factviz.attributes_rate(model, FACTS)
    if form == "txt":
        assert (found.dataset["vocabulary_size"] == 5).all()
    else:
        assert found.dataset["vocabulary_size"].values.tolist() == [2, 2, 2, 1]
        np.testing.assert_array_equal(found.recall, own.recall)
    assert "file" in found.provenance["vocabulary"] or "subject" in found.provenance["vocabulary"]
    assert str(tmp_path) not in str(found.provenance)


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        ({"w21": "w33"}, "'w16 w17' is not in the vocabulary, nor are 1 others"),
        ([], "empty"),
        ([3], "int"),
        ("of the and", "no attribute"),
        ("", "no attribute"),
        ("zzz yyy", "no attribute"),
        ("missing.csv", "cannot read"),
    ],
)
def test_vocabularies_that_cannot_be_are_refused(vocabulary, words):
    with pytest.raises(FactvizError, match=words):
        factviz.attributes_rate(tiny("gpt2"), FACTS, vocabulary=vocabulary)


def test_a_csv_without_its_columns_is_refused(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("name,word\na,b\n", encoding="utf-8")
    with pytest.raises(FactvizError, match="column subject"):
        factviz.attributes_rate(tiny("gpt2"), FACTS, vocabulary=path)


def test_top_k_and_metrics_are_checked():
    with pytest.raises(FactvizError, match="top_k=0"):
        factviz.attributes_rate(tiny("gpt2"), FACTS, top_k=0)
    found = factviz.attributes_rate(tiny("gpt2"), FACTS)
    for call in (found.bands, lambda metric: found.view(metric=metric)):
        with pytest.raises(FactvizError, match="f1"):
            call("f1")


def test_stop_words_short_tokens_and_markers_do_not_count(mini):
    kept = kept_tokens(mini)
    names = mini.tokenizer.batch_decode([[i] for i in range(mini.d_vocab)])
    for i, name in enumerate(names):
        if len(name.strip()) <= 2 or name.strip().lower() in ("the", "which", "country of"):
            assert not kept[i]
    assert kept[names.index(" Italy")] and not kept[mini.bos_id]


def test_on_mini_subjects_are_enriched_above_their_controls(mini):
    facts = factviz.FactSet.builtin().select(relation=["landmark_country", "city_language"])[::5]
    bands = factviz.attributes_rate(mini, facts).bands("recall").sel(position="subject_last")
    start, best = bands["mean"].values[0], bands["mean"].values[1:].max()
    assert best > start + 0.3  # it rises over layers …
    middle = bands.sel(layer=3)
    assert middle["low"] > middle["shuffled_high"] + 0.3  # … above a shuffled subject
    assert middle["low"] > bands["embedding_high"] + 0.3  # … and above the embedding alone


def test_neurons_add_up_to_the_update():
    for family in ("gpt2", "olmo2", "granite"):
        model = tiny(family)
        width = linear_weight(output_map(model, 0)).shape[1]
        found = factviz.find_enriching_neurons(model, FACTS, k=width).dataset
        if linear_bias(output_map(model, 0)) is None:
            np.testing.assert_allclose(found["contributions"].sum("rank"), found["mlps"], atol=1e-5)
        else:
            gap = found["contributions"].sum("rank") - found["mlps"]
            bias = linear_bias(output_map(model, 1))
            weight = model.network.get_output_embeddings().weight.detach()
            direction = weight[[11, 12]].mean(0) - weight.mean(0)
            assert float(gap[0, 1]) == pytest.approx(-float(direction @ bias), abs=1e-10)


def test_neurons_are_ranked_by_what_is_the_subjects_own():
    found = factviz.find_enriching_neurons(tiny("gpt2"), FACTS, k=5)
    contrast = found.dataset["contributions"] - found.dataset["controls"]
    assert (contrast.diff("rank") <= 0).all()
    assert ((found.concentration > 0) & (found.concentration <= 1)).all()
    frame = found.to_frame()
    assert list(frame.columns[:4]) == ["fact", "layer", "rank", "neuron"]
    assert len(frame) == 4 * 3 * 5
    one = factviz.find_enriching_neurons(tiny("gpt2"), FACTS[0])
    assert one.mlps.dims == ("layer",) and one.to_frame()["control"].isna().all()
    with pytest.raises(FactvizError, match="k=0"):
        factviz.find_enriching_neurons(tiny("gpt2"), FACTS, k=0)


def test_on_mini_the_first_mlp_writes_the_subjects_own_attributes(mini):
    facts = factviz.FactSet.builtin().select(relation="landmark_country")
    bands = factviz.find_enriching_neurons(mini, facts).bands()
    first = bands.sel(layer=0)
    assert first["low"] > first["control_high"] + 0.3
    assert int((bands["mean"] - bands["control"]).idxmax("layer")) == 0
