"""X and Y through the residual stream at END, against plain Hugging Face and the model's logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.facts.errors import FactvizError
from factviz.results.token_trace import TokenTrace
from factviz.views.presenter import build
from tests.analysis.test_mlp_decomposition import PARALLEL, facts, tiny
from tests.families import FAMILIES, tiny_model


@torch.no_grad()
def test_gpt2_by_hand() -> None:
    model = tiny("gpt2")
    found = fv.follow_tokens(model, facts())
    network = tiny_model("gpt2", dtype=torch.float64)
    norm, weight = network.transformer.ln_f, network.lm_head.weight
    seen: list[torch.Tensor] = []
    for block in network.transformer.h:
        block.ln_2.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1]))
    number, fact = 5, facts()[5]
    ids = model.tokenize(fact).ids
    output = network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    x, y = ids[3], int(fact.answer[1:])
    assert found.dataset["token_id"].values[number, :2].tolist() == [x, y]
    for layer in range(3):
        pre = output.hidden_states[layer][0, -1]
        post = None if layer == 2 else output.hidden_states[layer + 1][0, -1]
        for place, state in (("r_pre", pre), ("r_mid", seen[layer]), ("r_post", post)):
            logits = output.logits[0, -1] if state is None else norm(state) @ weight.T
            for token, index in (("X", x), ("Y", y)):
                at = {"fact": number, "token": token, "layer": layer, "place": place}
                expected = float(logits[index] - logits.mean())
                assert float(found.logits.sel(at)) == pytest.approx(expected, abs=1e-9)
                rank = int((logits > logits[index]).sum()) + 1
                assert int(found.ranks.sel(at)) == rank


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_ends_in_its_own_logits(family: str) -> None:
    model = tiny(family)
    found = fv.follow_tokens(model, facts())
    data = found.dataset
    np.testing.assert_allclose(
        data["logit"].values[:, :, 1:, 0], data["logit"].values[:, :, :-1, 2], atol=1e-12
    )
    logits = fv.trace(model, facts()).logits
    logits = (logits - logits.mean(1, keepdim=True)).numpy()
    ids = data["token_id"].values
    expected = np.take_along_axis(logits, ids, 1)
    np.testing.assert_allclose(data["logit"].values[:, :, -1, 2], expected, atol=1e-5)
    assert found.parallel == (family in PARALLEL)
    middle = data["logit"].sel(place="r_mid")
    assert middle.isnull().all() == found.parallel and middle.notnull().all() != found.parallel
    assert any("no r_mid" in note for note in found.provenance["notes"]) == found.parallel
    frame = found.to_frame()
    assert list(frame.columns[:4]) == ["layer", "place", "token", "value"]
    assert len(frame) == 24 * 4 * 3 * (2 if found.parallel else 3)


def test_the_control_is_of_another_topic_and_answer() -> None:
    ids = fv.follow_tokens(tiny("gpt2"), facts()).dataset["token_id"].values
    assert (ids[:, :2] != ids[:, 2:]).all() and (ids[:, :2] != ids[:, :1:-1]).all()


def test_one_fact_has_no_control_and_no_band() -> None:
    found = fv.follow_tokens(tiny("gpt2"), facts()[1])
    assert found.logits.dims == ("token", "layer", "place")
    assert set(found.to_frame()["token"]) == {"X", "Y"}
    assert any("no other with another topic" in note for note in found.provenance["notes"])
    lines, _ = build(found).spec["panels"][0]
    assert [one["label"] for one in lines["series"]] == ["X", "Y", "Y − X"]
    assert all(one["low"] is None for one in lines["series"])


def test_lines_pass_every_state_once() -> None:
    for family, count in (("gpt2", 7), ("gptj", 4)):
        found = fv.follow_tokens(tiny(family), facts())
        figure = build(found)
        lines, ranks = figure.spec["panels"][0]
        assert figure.values(lines["x"]["values"]).tolist()[-1] == 3
        y = figure.values(lines["series"][1]["values"])
        assert len(y) == count and lines["series"][1]["low"]
        means = found.bands()["logit"].sel(token="Y")
        assert y[0] == pytest.approx(float(means[0, 0]), rel=1e-5)
        assert y[-1] == pytest.approx(float(means[-1, 2]), rel=1e-5)
        assert lines["series"][2]["label"] == "control: other’s X"
        assert len(ranks["series"]) == 4
        assert build(found.view(fact=2)).spec["title"].endswith("→ w32")


def test_where_y_overtakes_x() -> None:
    found = fv.follow_tokens(tiny("gpt2"), facts())
    data = found.dataset.copy(deep=True)
    data["logit"].values[:] = 0
    data["logit"].values[:, 1] = -1
    assert TokenTrace(data, found.provenance).overtaken() is None
    data["logit"].values[:, 1, 1, 1:] = 1
    data["logit"].values[:, 1, 2] = 1
    assert TokenTrace(data, found.provenance).overtaken() == (1, "r_mid")
    data["logit"].values[:, 1, 0, 0] = 1  # and falls again
    assert TokenTrace(data, found.provenance).overtaken() == (1, "r_mid")


@pytest.mark.parametrize("single", [True, False])
def test_saved_and_opened(single: bool, tmp_path: Any) -> None:
    result = fv.follow_tokens(tiny("llama"), facts()[0] if single else facts())
    for suffix in (".html", ".svg", ".csv"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = fv.open_result(tmp_path / "one.html")
    assert again.dataset.identical(result.dataset) and repr(again) == repr(result)
    assert "X and Y" in result._repr_mimebundle_()["text/html"]
    with pytest.raises(FactvizError, match="this is no trace of tokens"):
        TokenTrace(result.dataset.drop_vars("rank"), {})


def test_on_mini_gpt2_the_answer_rises_and_anothers_does_not() -> None:
    model = fv.load_model("mini-gpt2")
    some = fv.FactSet.builtin().select(relation="country_capital").known(model)[:60]
    found = fv.follow_tokens(model, some)
    bands = found.bands()
    last = bands.sel(layer=5, place="r_post")
    assert last["logit_low"].sel(token="Y") > last["logit_high"].sel(token="other Y") + 3
    first = bands.sel(layer=0, place="r_pre")
    assert last["logit_low"].sel(token="Y") > first["logit_high"].sel(token="Y") + 3
    assert found.overtaken() is not None
