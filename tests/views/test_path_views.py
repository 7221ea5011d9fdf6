"""Maps of paths as figures and files, and the chain of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.results.path_patching import PathPatching
from factviz.views import html, path_chain
from factviz.views.path_chain import Step
from factviz.views.presenter import build
from tests import parsed
from tests.families import tiny_model, tiny_tokenizer
from tests.hostile import HOSTILE

pytestmark = pytest.mark.filterwarnings("ignore:π is")

FACTS = [
    fv.Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r"),
    fv.Fact("w21 w22 w23", "w21", "w33", relation="r"),
    fv.Fact("w40 w41 w42", "w40 w41", "w51", relation="q"),
]
OTHERS = [fv.Fact("w1 w2 w3 w4", "w2", "w9"), fv.Fact("w5 w6", "w5", "w9")]


@cache
def model() -> fv.FactModel:
    return fv.load_model(
        tiny_model("llama"), tokenizer=tiny_tokenizer(), prepend_bos=True, name="tiny"
    )


@cache
def made(receiver: str = "resid_final", single: bool = False, **options: Any) -> PathPatching:
    facts = FACTS[0] if single else FACTS
    # The most probable token: π is above 0.
    return fv.patch_paths(
        model(), facts, OTHERS, receiver=receiver, target=options.pop("target", "top1"), **options
    )


@pytest.mark.parametrize(("receiver", "single"), [("resid_final", False), ("L2H1.k", True)])
def test_every_result_is_shown_saved_and_opened(receiver: str, single: bool, tmp_path: Any) -> None:
    result = made(receiver, single)
    bundle = result._repr_mimebundle_()
    assert "tiny" in bundle["text/plain"] and "Paths to" in bundle["text/html"]
    for suffix in (".html", ".png", ".svg", ".pdf", ".csv", ".parquet"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = fv.open_result(tmp_path / "one.html")
    assert type(again) is PathPatching
    assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
    assert again.to_frame().equals(result.to_frame()) and repr(again) == repr(result)
    assert result.plot().get_title(loc="left")
    viewed = result.view(measure="delta", top=3, fact=0)
    opened = fv.open_result(viewed.save(tmp_path / "two.html"))
    assert opened.view_options == viewed.view_options


def test_heads_and_mlps_in_one_matrix_and_the_strongest_as_bars() -> None:
    result = made()
    matrix, bars = build(result).spec["panels"][0]
    figure = build(result)
    assert matrix["columns"]["labels"] == ["H0", "H1", "H2", "H3", "MLP"]
    assert matrix["unit"] == "% of π" and matrix["pages"]["options"] == ["effect", "control"]
    effect, control = figure.values(matrix["values"])
    np.testing.assert_allclose(effect[:, :4], result.heads, rtol=1e-5)
    np.testing.assert_allclose(effect[:, 4], result.mlps, rtol=1e-5)
    wanted = 100 * result.bands()["heads_control"].values / result.base
    np.testing.assert_allclose(control[:, :4], wanted, rtol=1e-4)
    frame = result.strongest(12)
    assert bars["labels"][:2] == [f"L{frame['layer'][0]}H{frame['head'][0]}", "↳ control"] or (
        bars["labels"][0].startswith("MLP")
    )
    values = figure.values(bars["values"])
    np.testing.assert_allclose(values[::2], frame["change"], rtol=1e-5)
    assert (np.diff(np.abs(values[::2])) <= 0).all()
    np.testing.assert_allclose(figure.values(bars["low"])[::2], frame["change_low"], rtol=1e-4)
    assert bars["keys"][0]["component"] == frame["component"][0]
    assert "control: each sender moved as far in a random direction" in figure.spec["notes"]


def test_what_has_no_path_is_blank_and_said() -> None:
    result = made("L2H1.k")
    figure = build(result)
    values = figure.values(figure.spec["panels"][0][0]["values"])
    assert np.isnan(values[:, 2]).all() and not np.isnan(values[:, :2]).any()
    assert any("4 heads are not before the receiver" in note for note in figure.spec["notes"])
    assert any("whole group" in note for note in figure.spec["notes"])


def test_without_a_percentage_logits_are_drawn() -> None:
    bottom = int(model().predict(FACTS[0], k=61)["token_id"].iloc[-1])
    result = made(single=True, target=bottom)
    matrix, bars = build(result).spec["panels"][0]
    assert result.base < 0 and matrix["unit"] == bars["unit"] == "logits"
    assert bars["low"] is None  # one fact has no interval
    chosen = build(made(single=True).view(measure="delta")).spec["panels"][0][0]
    assert made(single=True).base > 0 and chosen["unit"] == "logits"


def test_views_that_do_not_exist_are_refused() -> None:
    for options, said in (
        ({"measure": "percent"}, "'change'"), ({"top": 0}, "top=0"), ({"fact": 9}, "no fact 9"),
    ):  # fmt: skip
        with pytest.raises(fv.FactvizError, match=said):
            made().view(**options)  # type: ignore[arg-type]


def test_hostile_text_is_text() -> None:
    result = made()
    for text in HOSTILE:
        plain = text.encode("utf-8", "replace").decode()
        hostile = np.array([plain] * 3, dtype=object)
        names = dict.fromkeys(("prompt", "subject", "answer", "position_token"), ("fact", hostile))
        said = {"notes": [plain], "receiver": plain, "at": plain, "counterfactuals": plain}
        changed = PathPatching(result.dataset.assign_coords(names), result.provenance | said)
        page = parsed.Page()
        page.feed(html.fragment(build(changed.view(fact=0))))
        tags = [element.tag for element in page.elements]
        assert tags.count("script") == 2 and "iframe" not in tags
        assert "\x1b" not in repr(changed)
        chain = path_chain.build([Step(plain, maps=[(plain, "end", changed)])])
        assert "\x1b" not in chain.spec["title"]


def test_a_file_that_holds_something_else_is_refused() -> None:
    with pytest.raises(fv.FactvizError, match="this is no map of paths: its variable 'mlps'"):
        PathPatching(made().dataset.drop_vars("mlps"), {})


def test_the_way_back_stands_on_top() -> None:
    steps = [
        Step("answer at END", maps=[("the final residual", "end", made())]),
        Step("L2H1 at END", -3.5, [("k at END", "end", made("L2H1.k"))], "v is being worked out …"),
    ]
    figure = path_chain.build(steps)
    way, above, _, beneath, bars = figure.spec["panels"][0]
    assert figure.spec["title"] == "answer at END ← L2H1 at END"
    assert way["labels"] == ["answer at END", "← L2H1 at END"]
    assert way["keys"] == [{"back": 0}, {"back": 1}]
    assert above["title"].startswith("answer") and beneath["title"].startswith("L2H1")
    assert bars["keys"][0] | {"level": 1, "at": "end"} == bars["keys"][0]
    assert "v is being worked out …" in figure.spec["notes"]
    alone = path_chain.build(steps[:1])
    assert [panel["mark"] for panel in alone.spec["panels"][0]] == ["matrix", "bars"]
