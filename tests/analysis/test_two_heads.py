"""A model of one layer and two heads whose every number is known by hand.

Embeddings are one-hot, attention is uniform, the MLP writes nothing. Head 0 turns a subject into
its answer, head 1 a relation's word into both answers of the relation.
"""

from __future__ import annotations

import math

import pytest
import torch

import factviz as fv
from tests.analysis.planted_heads import WIDTH, one_hot_llama
from tests.families import VOCABULARY, tiny_tokenizer

SUBJECTS = {10: 20, 11: 21, 12: 22}
RELATION, END = 40, 42
LENGTH = 4  # BOS, subject, relation word, END


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    plain = one_hot_llama()
    with torch.no_grad():
        attention = plain.model.layers[0].self_attn
        for place, (subject, answer) in enumerate(SUBJECTS.items()):
            attention.v_proj.weight[place, subject] = 1.0
            attention.o_proj.weight[answer, place] = 1.0
        attention.v_proj.weight[WIDTH // 2, RELATION] = 1.0
        for answer in SUBJECTS.values():
            attention.o_proj.weight[answer, WIDTH // 2] = 0.5
    return fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)


@pytest.fixture(scope="module")
def facts() -> list[fv.Fact]:
    return [
        fv.Fact(
            f"w{subject} w{RELATION} w{END}",
            f"w{subject}",
            f"w{answer}",
            relation="r",
            same_relation=tuple(f"w{other}" for other in SUBJECTS.values() if other != answer),
        )
        for subject, answer in SUBJECTS.items()
    ]


def by_hand() -> tuple[float, float, float]:
    """DLA on the answer of head 0 and of head 1, and on another answer of head 1."""
    # A one-hot vector has RMS 1/8; a quarter of attention lies on each of four tokens.
    write = math.sqrt(WIDTH) / LENGTH
    end = [1.0, write * 1.5, write * 0.5, write * 0.5]  # END's own, the answer, two others
    scale = math.sqrt(sum(value**2 for value in end) / WIDTH)
    subject = write * (1 - 1 / VOCABULARY) / scale
    relation = 0.5 * write * (1 - 3 / VOCABULARY) / scale
    return subject, relation, relation


def test_numbers_and_classes_are_those_worked_out(
    model: fv.FactModel, facts: list[fv.Fact]
) -> None:
    subject, relation, other = by_hand()
    result = fv.classify_heads(model, facts)
    bands = result.bands().sel(relation="all", layer=0)
    assert bands["subject_dla"].values == pytest.approx([subject, 0], abs=1e-5)
    assert bands["relation_dla"].values == pytest.approx([0, relation], abs=1e-5)
    assert result.classes.sel(relation="all").values.tolist() == [["subject", "relation"]]
    assert result.to_frame().query("relation == 'all'")["low"].tolist() == pytest.approx(
        [subject, relation], abs=1e-5
    )
    # Uniform attention: one token of four is the subject, two are the relation with END.
    assert bands["subject_attention"].values == pytest.approx([0.25, 0.25])
    assert bands["relation_attention"].values == pytest.approx([0.5, 0.5])
    # No path from the relation word to the subject, in a single layer.
    assert bands["preference"].values == pytest.approx([0, relation - other], abs=1e-5)
    assert bands["preference_change"].values == pytest.approx([0, 0], abs=1e-5)


def test_the_parts_are_those_worked_out(model: fv.FactModel, facts: list[fv.Fact]) -> None:
    subject, relation, other = by_hand()
    motif = fv.sum_up(model, facts, fv.classify_heads(model, facts))
    mean = motif.contribution.mean("fact").sel(fact_role="answer")
    assert float(mean.sel(part="subject heads")) == pytest.approx(subject, abs=1e-5)
    assert float(mean.sel(part="relation heads")) == pytest.approx(relation, abs=1e-5)
    assert float(mean.sel(part="MLPs")) == 0 and float(mean.sel(part="biases")) == 0
    table = motif.table().set_index("part")
    # The subject head alone says the answer; the relation head says all three alike.
    assert table.loc["subject heads", "top1"] == 1
    assert table.loc["relation heads", "top1"] == 0
    assert table.loc["relation heads", "in_own_set"] == 1
    assert table.loc["together", "top1"] == 1
    profile = fv.profile_head(model, facts, 0, 1)
    means = profile.bands()["mean"].sel(group="relation")
    assert float(means.sel(role="answer")) == pytest.approx(relation, abs=1e-5)
    assert float(means.sel(role="same_relation")) == pytest.approx(other, abs=1e-5)
    assert float(means.sel(role="control")) < 0


def test_ablation_takes_what_was_written(model: fv.FactModel, facts: list[fv.Fact]) -> None:
    """The scale changes with the ablation, so the effect is worked out with its own."""
    write = math.sqrt(WIDTH) / LENGTH
    before, after = (
        (size * write + 0.5 * write) / math.sqrt((1 + (size * write + 0.5 * write) ** 2
                                                  + 2 * (0.5 * write) ** 2) / WIDTH)
        for size in (1, 0)
    )  # fmt: skip
    result = fv.ablate(model, facts, (0, 0), mode="zero", controls=0)
    logits = result.dataset["logit"].values
    mean_before = (1 + 2.5 * write) / VOCABULARY
    mean_after = (1 + 1.5 * write) / VOCABULARY
    scale = [value / (size * write + 0.5 * write) for value, size in ((before, 1), (after, 0))]
    assert logits[:, 0] == pytest.approx([before - mean_before * scale[0]] * 3, abs=1e-4)
    assert logits[:, 1] == pytest.approx([after - mean_after * scale[1]] * 3, abs=1e-4)
