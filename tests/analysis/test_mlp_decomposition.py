"""MLPs as linear maps of heads: by hand, on every family, and what the embedded model shows."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.analysis.intercept_geometry import Targets, cosine, layer_cosines, read_targets
from factviz.analysis.mlp_terms import end_states
from factviz.analysis.moments import held_out
from factviz.analysis.topics import read_topics
from factviz.facts.errors import FactvizError
from factviz.results.mlp_decomposition import DIRECTIONS, MLPDecomposition, word
from factviz.results.mlp_transfer import explained
from tests.families import FAMILIES, tiny_model, tiny_tokenizer

PARALLEL = {"neox-parallel", "gptj", "phi", "falcon-7b", "falcon-40b"}


def facts(count: int = 24, *, ends: int = 5, relation: str = "r") -> fv.FactSet:
    """Facts of one relation; subjects of one and two tokens, some asked about twice."""
    made: list[fv.Fact] = []
    for i in range(count):
        subject = f"w{10 + i // 2}" + (f" w{3 + i % 4}" if i % 3 else "")
        prompt = f"w2 {subject} w1 w{45 + i % ends}"
        made.append(fv.Fact(prompt, subject, f"w{30 + i % 7}", relation=relation))
    return fv.FactSet(made)


@cache
def tiny(family: str, dtype: torch.dtype = torch.float64) -> fv.FactModel:
    model = tiny_model(family, dtype=dtype)
    return fv.load_model(model, tokenizer=tiny_tokenizer(), prepend_bos=True, name=family)


@cache
def made(family: str = "gpt2", **options: Any) -> MLPDecomposition:
    heads = "previous" if family in PARALLEL else "own"
    return fv.decompose_mlps(tiny(family), facts(), heads=heads, **options)


def by_hand(layer: int) -> tuple[np.ndarray, ...]:
    """r_pre, what each head writes, r_mid, m and r_post at END of plain GPT-2, one by one."""
    plain = tiny_model("gpt2", dtype=torch.float64)
    block, held = plain.transformer.h[layer], {}
    hooks = [
        block.register_forward_pre_hook(lambda _, args: held.update(pre=args[0])),
        block.attn.c_proj.register_forward_pre_hook(lambda _, args: held.update(z=args[0])),
        block.attn.register_forward_hook(lambda _, __, out: held.update(attention=out[0])),
        block.mlp.register_forward_hook(lambda _, __, out: held.update(mlp=out)),
        block.register_forward_hook(
            lambda _, __, out: held.update(post=out[0] if isinstance(out, tuple) else out)
        ),
    ]
    rows = []
    for fact in facts():
        with torch.no_grad():
            plain(input_ids=torch.tensor([tiny("gpt2").tokenize(fact).ids]))
        end = {name: value[0, -1] for name, value in held.items()}
        heads = torch.einsum(
            "hw,hwd->hd",
            end["z"].unflatten(0, (4, 8)),
            block.attn.c_proj.weight.unflatten(0, (4, 8)),
        )
        mid = end["pre"] + end["attention"]
        rows.append([end["pre"], heads.detach(), mid, end["mlp"], end["post"]])
    for hook in hooks:
        hook.remove()
    return tuple(torch.stack(part).numpy() for part in zip(*rows, strict=True))


class TestByHand:
    @pytest.mark.parametrize("layer", [0, 2])
    def test_states_heads_and_updates_are_the_plain_models(self, layer: int) -> None:
        pre, heads, mid, mlp, post = by_hand(layer)
        states = end_states(tiny("gpt2"), tiny("gpt2").tokenize_all(facts()))
        for mine, theirs in (
            (states.before(layer), pre),
            (states.heads(layer), heads),
            (states.mid(layer), mid),
            (states.mlp(layer), mlp),
            (states.after(layer), post),
        ):
            np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-12)

    @pytest.mark.parametrize("layer", [0, 2])
    @pytest.mark.parametrize("r", ["pre", "mid"])
    def test_g_is_what_both_ways_to_take_r_give(self, layer: int, r: str) -> None:
        pre, heads, mid, mlp, _ = by_hand(layer)
        stream = pre if r == "pre" else mid
        columns = [*heads.transpose(1, 0, 2), stream]
        design = np.stack([(one - one.mean(0)).ravel() for one in columns], 1)
        c = np.linalg.lstsq(design, (mlp - mlp.mean(0)).ravel(), rcond=None)[0]
        g = c[:4] + (c[4] if r == "mid" else 0)
        found = made()
        np.testing.assert_allclose(found.g.sel(layer=layer), g, atol=1e-9)
        assert float(found.c_r.sel(layer=layer)) == pytest.approx(c[4], abs=1e-9)
        frame = found.to_frame()
        frame = frame[frame["layer"] == layer]
        np.testing.assert_allclose(frame["c"][:4], g - c[4], atol=1e-9)
        np.testing.assert_allclose(frame["left"][:4], 1 + g, atol=1e-9)
        b = mlp.mean(0) - g @ heads.mean(0) - c[4] * pre.mean(0)
        np.testing.assert_allclose(found.dataset["intercept"].sel(layer=layer), b, atol=1e-9)

    def test_r2_is_held_out_by_subject_and_centred(self) -> None:
        pre, heads, _, mlp, _ = by_hand(1)
        found = made()
        fold = found.dataset["fold_of"].values
        owners: dict[str, set[int]] = {}
        for fact, number in zip(facts(), fold, strict=True):
            owners.setdefault(fact.subject, set()).add(int(number))
        assert all(len(own) == 1 for own in owners.values()) and set(fold) == {0, 1, 2, 3}
        stacked = np.concatenate([heads, pre[:, None], mlp[:, None]], 1)
        expected = held_out(stacked, fold)
        np.testing.assert_allclose(found.dataset["r2"].sel(layer=1), expected.r2, atol=1e-9)
        np.testing.assert_allclose(
            found.dataset["r2_zero"].sel(layer=1), expected.r2_zero, atol=1e-9
        )
        assert (expected.r2_zero > expected.r2).all()

    def test_the_intervals_are_of_resampled_subjects(self) -> None:
        found = made(n_boot=400)
        data = found.dataset
        assert (data["low"] <= data["coefficient"]).mean() > 0.9
        assert (data["high"] > data["low"]).all()
        assert data["draws"].sizes["draw"] == 400
        assert (
            not fv.decompose_mlps(tiny("gpt2"), facts(), seed=1)
            .dataset["low"]
            .equals(made().dataset["low"])
        )
        assert fv.decompose_mlps(tiny("gpt2"), facts()).dataset.identical(made().dataset)

    def test_shuffled_heads_stand_beside(self) -> None:
        found = made()
        assert found.dataset["control_r2"].sizes["shuffle"] == 20
        assert np.isfinite(found.dataset["control_r2"]).all()
        none = fv.decompose_mlps(tiny("gpt2"), facts(), controls=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not none.fits.isnull().any() and repr(none)
        assert none.dataset["control_r2"].isnull().all()
        assert "shuffled" not in none.said_of(0)
        with pytest.raises(FactvizError, match="controls=-1"):
            fv.decompose_mlps(tiny("gpt2"), facts(), controls=-1)

    def test_scaled_dimensions(self) -> None:
        pre, heads, _, mlp, _ = by_hand(1)
        spread = mlp.std(0)
        columns = [*heads.transpose(1, 0, 2), pre]
        design = np.stack([((one - one.mean(0)) / spread).ravel() for one in columns], 1)
        c = np.linalg.lstsq(design, ((mlp - mlp.mean(0)) / spread).ravel(), rcond=None)[0]
        found = made(scale_dimensions=True)
        np.testing.assert_allclose(found.dataset["coefficient"].sel(layer=1), c, atol=1e-9)
        assert abs(found.g - made().g).max() > 1e-3
        with pytest.raises(FactvizError, match="scale_dimensions=True here and False there"):
            found.transfer(made())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str) -> None:
    before = tiny(family).weight_hash
    if family in PARALLEL:
        with pytest.raises(FactvizError, match=r"parallel blocks.*heads='previous'"):
            fv.decompose_mlps(tiny(family), facts())
    found = made(family)
    data = found.dataset
    layers = [1, 2] if family in PARALLEL else [0, 1, 2]
    assert data["layer"].values.tolist() == layers
    assert data["source"].values.tolist() == [n - (family in PARALLEL) for n in layers]
    assert found.g.shape == (len(layers), 4) and np.isfinite(found.g).all()
    assert found.provenance["blocks"] == ("parallel" if family in PARALLEL else "sequential")
    frame = found.to_frame()
    assert list(frame.columns[:6]) == ["layer", "term", "g", "low", "high", "r2"]
    assert len(frame) == len(layers) * 5 and frame["term"].iloc[0] == "L0H0"
    mid = found.geometry().query("vector == 'r_mid'")["cosine"]
    assert mid.isna().all() == (family in PARALLEL)
    assert tiny(family).weight_hash == before


@pytest.mark.parametrize("family", ["gpt2", "olmo2", "neox-parallel"])
def test_the_rest_and_all_heads_make_what_the_mlp_reads(family: str) -> None:
    states = end_states(tiny(family), tiny(family).tokenize_all(facts()))
    for layer in (1, 2):
        heads, rest, _ = states.terms(layer, "previous")
        np.testing.assert_allclose(heads.sum(1) + rest, states.mid(layer), atol=1e-12)


def test_one_end_token_leaves_c_r_open_but_not_g() -> None:
    same = facts(ends=1)
    found = fv.decompose_mlps(tiny("llama"), same, layers=[0, 1])
    assert np.isnan(found.c_r.values[0]) and np.isfinite(found.c_r.values[1])
    assert np.isfinite(found.g.values).all()
    assert any("layer 0" in note and "not determined" in note for note in found.provenance["notes"])
    states = end_states(tiny("llama"), tiny("llama").tokenize_all(same))
    heads, _, mlp = states.terms(0, "own")
    design = (heads - heads.mean(0)).transpose(0, 2, 1).reshape(-1, 4)
    expected = np.linalg.lstsq(design, (mlp - mlp.mean(0)).ravel(), rcond=None)[0]
    np.testing.assert_allclose(found.g.values[0], expected, atol=1e-9)
    assert found.transfer(found)["r2"].iloc[0] == pytest.approx(found.dataset["r2_fit"].values[0])
    assert np.isnan(found.to_frame()["c"].iloc[0])


class TestRefused:
    def test_too_few(self) -> None:
        for some in (facts()[0], facts()[:2], facts()[:3], [*facts()[:3]] * 4):
            with pytest.raises(FactvizError, match="give facts of 4 subjects or more"):
                fv.decompose_mlps(tiny("gpt2"), some)
        with pytest.raises(FactvizError, match="folds=40 can't be made"):
            fv.decompose_mlps(tiny("gpt2"), facts(), folds=40)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"solver": "adam"}, "solver='adam' is unknown"),
            ({"heads": "all"}, "heads='all' are unknown"),
            ({"layers": 7}, "layer 7 does not exist"),
            ({"layers": []}, "no layers are named"),
            ({"k": 0}, "k=0"),
            ({"n_boot": 1}, "n_boot=1"),
            ({"solver": "sgd", "rate": -1}, "rate=-1"),
            ({"solver": "sgd", "rate": 1e3}, "diverges on these activations"),
            ({"layers": 0, "heads": "previous"}, "no layer lies before it"),
        ],
    )
    def test_options(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(FactvizError, match=said):
            fv.decompose_mlps(tiny("gpt2"), facts(), **options)

    def test_heads_that_write_the_same_are_named(self) -> None:
        plain = tiny_model("gpt2", dtype=torch.float64)
        attention = plain.transformer.h[1].attn
        with torch.no_grad():
            for part in range(3):  # q, k and v of head 2 are those of head 0
                there = slice(32 * part + 16, 32 * part + 24)
                here = slice(32 * part, 32 * part + 8)
                attention.c_attn.weight[:, there] = attention.c_attn.weight[:, here]
                attention.c_attn.bias[there] = attention.c_attn.bias[here]
            attention.c_proj.weight[16:24] = attention.c_proj.weight[:8]
        model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True, name="twins")
        with pytest.raises(FactvizError, match="layer 1: rank deficient: one of L1H0, L1H2 is"):
            fv.decompose_mlps(model, facts(), layers=1)
        found = fv.decompose_mlps(model, facts())
        assert found.dataset["layer"].values.tolist() == [0, 2]
        assert any("left out: layer 1: rank deficient" in n for n in found.provenance["notes"])
        with torch.no_grad():  # alike, but not the same
            attention = model.network.transformer.h[1].attn
            weight = model.geometry.layers[1].output.original_component.weight
            weight[16:24] += 0.05 * torch.randn(8, 32, dtype=torch.float64)
        notes = fv.decompose_mlps(model, facts(), layers=1).provenance["notes"]
        assert any("layer 1: nearly collinear: L1H0 and L1H2 (cosine" in note for note in notes)

    def test_activations_that_are_not_finite(self) -> None:
        plain = tiny_model("gpt2")
        with torch.no_grad():
            plain.transformer.h[1].mlp.c_proj.bias[0] = torch.inf
        model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True, name="broken")
        with pytest.raises(FactvizError, match="not finite"):
            fv.decompose_mlps(model, facts())


def test_an_interrupt_leaves_the_finished_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    from factviz.analysis.mlp_fitting import Fitter

    whole = Fitter.fit

    def stopped(self: Fitter, layer: int) -> dict[str, Any]:
        if layer == 2:
            raise KeyboardInterrupt
        return whole(self, layer)

    monkeypatch.setattr(Fitter, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        fv.decompose_mlps(tiny("gpt2"), facts())
    kept = fv.partial_result()
    assert kept.dataset["layer"].values.tolist() == [0, 1] and kept.provenance["partial"]
    np.testing.assert_allclose(kept.g, made().g[:2], atol=1e-12)


class TestDescent:
    def test_its_gap_to_the_exact_solution_is_always_shown(self) -> None:
        found, exact = made(solver="sgd", steps=500), made()
        np.testing.assert_allclose(found.dataset["exact"], exact.dataset["coefficient"], atol=1e-12)
        gap = abs(found.dataset["coefficient"] - exact.dataset["coefficient"]).max("term")
        np.testing.assert_allclose(found.gap, gap, atol=1e-12)
        assert (found.gap > 1e-3).all() and (exact.gap == 0).all()
        assert "SGD off the exact solution by up to" in repr(found)
        assert "SGD" not in repr(exact) and "500 steps" in found.provenance["solver"]
        frame = found.to_frame()
        np.testing.assert_allclose(frame["gap"], frame["g"] - frame["exact"], atol=1e-12)
        excess = found.dataset["excess"].values
        assert excess.shape == (3, 60) and (excess[:, -1] < excess[:, 0] / 3).all()

    def test_it_gets_there(self) -> None:
        found, exact = made(solver="sgd", rate=0.1, steps=200_000), made()
        assert found.gap.max() < 1e-8
        for name in ("r2", "r2_zero", "intercept", "low", "high"):
            np.testing.assert_allclose(found.dataset[name], exact.dataset[name], atol=1e-6)


class TestWords:
    @pytest.mark.parametrize(
        ("low", "high", "value", "said"),
        [
            (0.1, 0.3, 0.2, "amplifies"),
            (-0.1, 0.3, 0.1, "unclear"),
            (-0.4, -0.1, -0.2, "weakens"),
            (-1.1, -0.9, -1.0, "erases"),
            (-2.1, -1.6, -1.8, "reverses"),
            (np.nan, np.nan, 0.5, "unclear"),
        ],
    )
    def test_what_an_interval_says(self, low: float, high: float, value: float, said: str) -> None:
        assert word(low, high, value) == said

    def test_a_layer_that_fits_no_better_than_shuffled_heads_says_nothing(self) -> None:
        data = made().dataset
        clear = data.assign(low=data["low"] * 0 + 1, high=data["high"] * 0 + 2)
        sure = MLPDecomposition(clear.assign(r2=data["r2"] * 0 + 0.5), {})
        assert (sure.words == "amplifies").all()
        poor = MLPDecomposition(clear.assign(r2=data["r2"] * 0 + 0.005), {})
        shuffled = clear.assign(r2=data["r2"] * 0 + 0.5, control_r2=data["control_r2"] * 0 + 0.6)
        for nothing in (poor, MLPDecomposition(shuffled, {})):
            assert (nothing.words == "unclear").all() and "none found" in repr(nothing)


class TestGeometry:
    def test_an_intercept_along_y_minus_x(self) -> None:
        targets = self.targets()
        b = targets.y[0] - targets.x[0]
        found, random = layer_cosines(targets, b, {"m": targets.kind, "r_mid": None})
        named = dict(zip(DIRECTIONS, found[0, 0], strict=True))
        assert named["Y − X"] == pytest.approx(1, abs=1e-6)
        assert named["shuffled Y − X"] < 0.99
        assert found[:, 1, DIRECTIONS.index("answer type")] == pytest.approx(np.ones(24), abs=1e-6)
        assert np.isnan(found[:, 2]).all() and np.isnan(random[2]).all()
        assert abs(random[0]).max() < 0.9 and abs(random[0].mean()) < 0.05
        each = [np.mean([cosine(one, other) for one in targets.kind]) for other in targets.random]
        np.testing.assert_allclose(random[1], each, atol=1e-6)  # kind has mean 0 already

    @staticmethod
    def targets() -> Targets:
        model, some = tiny("gpt2"), list(facts())
        tokens = model.tokenize_all(some)
        return read_targets(model, some, tokens, read_topics(model, some).ids)

    def test_directions_are_what_norm_and_unembedding_read(self) -> None:
        targets, network = self.targets(), tiny("gpt2").network
        norm = network.transformer.ln_f.original_component
        weight = network.lm_head.weight.detach()
        state = torch.randn(1, 32, dtype=torch.float64)
        scale = float((state - state.mean()).pow(2).mean().add(norm.eps).sqrt())
        logits = ((norm(state) - norm.bias).detach() @ weight.T)[0]
        expected = float(logits[targets.answer[3]] - logits.mean())
        assert float(state[0].numpy() @ targets.y[3]) / scale == pytest.approx(expected, rel=1e-6)

    def test_shuffled_pairs_have_another_answer(self) -> None:
        targets = self.targets()
        assert (targets.answer[targets.shuffled] != targets.answer[:, None]).all()

    def test_x_is_the_last_token_of_the_topic_and_that_is_said(self) -> None:
        targets, some = self.targets(), facts()
        assert targets.topic[0] == int(some[0].subject[1:])
        assert targets.topic[1] == int(some[1].subject.split()[1][1:])
        notes = made().provenance["notes"]
        assert any(note.startswith("16 of 24 topics are of several tokens") for note in notes)
        model = tiny("gpt2")
        fact = fv.Fact("w2 w5 w6 w7 w9", "w7", "w11", topic="w5 w6")
        assert read_topics(model, [fact]).positions == [(2, 3)]

    def test_the_table(self) -> None:
        found = made()
        table = found.geometry()
        rows = table[(table["layer"] == 1) & (table["vector"] == "b")].set_index("direction")
        over = rows.loc["Y − X", "cosine"] - rows.loc["shuffled Y − X", "cosine"]
        assert rows.loc["Y − X over shuffled", "cosine"] == pytest.approx(over)
        assert rows.loc["random", "low"] < 0 < rows.loc["random", "high"]
        b = found.dataset["intercept"].sel(layer=1).values
        targets = self.targets()
        centred = b - b.mean()
        y = targets.y[5]
        expected = centred @ y / np.linalg.norm(centred) / np.linalg.norm(y)
        mine = found.dataset["cosine"].sel(fact=5, layer=1, vector="b", direction="Y")
        assert float(mine) == pytest.approx(expected, abs=1e-6)

    def test_top_tokens(self) -> None:
        found = made()
        b = torch.from_numpy(found.dataset["intercept"].sel(layer=2).values)
        network = tiny("gpt2").network
        norm = network.transformer.ln_f.original_component
        scores = ((b - b.mean()) * norm.weight @ network.lm_head.weight.T).detach()
        best = f"w{int(scores.argmax())}"
        assert found.dataset["top_token"].sel(layer=2).values[0] == best
        assert float(found.dataset["top"].sel(layer=2)[0]) == pytest.approx(
            float(scores.max() - scores.mean()), rel=1e-6
        )


class TestTransfer:
    def test_to_itself_it_is_the_fit(self) -> None:
        table = made().transfer(made())
        np.testing.assert_allclose(table["r2"], table["own"], atol=1e-9)
        np.testing.assert_allclose(table[["pearson", "spearman", "intercepts"]], 1, atol=1e-9)
        assert (table["control"] < table["r2"]).all() and (table["held_out"] < table["own"]).all()

    def test_to_other_prompts_nothing_beats_their_own_fit(self) -> None:
        other = fv.decompose_mlps(tiny("gpt2"), facts(ends=3))
        table = made().transfer(other)
        assert (table["r2"] < table["own"]).all() and (table["low"] <= table["high"]).all()
        states = end_states(tiny("gpt2"), tiny("gpt2").tokenize_all(facts(ends=3)))
        heads, rest, output = states.terms(1, "own")
        terms = np.concatenate([heads, rest[:, None]], 1)
        c = made().dataset["coefficient"].sel(layer=1).values
        missed = output - np.einsum("t,ptd->pd", c, terms)
        missed = missed - missed.mean(0)
        expected = 1 - (missed**2).sum() / ((output - output.mean(0)) ** 2).sum()
        assert table["r2"].iloc[1] == pytest.approx(expected, abs=1e-9)

    def test_between_models_only_g_is_correlated(self) -> None:
        table = made().transfer(made("opt"))
        assert table["r2"].isna().all() and table["intercepts"].isna().all()
        assert table["spearman"].between(-1, 1).all()

    def test_what_does_not_fit_together(self) -> None:
        with pytest.raises(FactvizError, match="not to int"):
            made().transfer(3)  # type: ignore[arg-type]
        with pytest.raises(FactvizError, match="heads='own' here and 'previous' there"):
            made().transfer(made("gptj"))
        fewer = made().dataset.isel(term=[0, 1, 4], variable=[0, 1, 4, 5])
        with pytest.raises(FactvizError, match="4 heads here and 2 there"):
            made().transfer(MLPDecomposition(fewer, made().provenance))
        with pytest.raises(FactvizError, match="no layer in common"):
            made(layers=0).transfer(made(layers=1))

    def test_results_stand_side_by_side(self) -> None:
        other = fv.decompose_mlps(tiny("gpt2"), facts(ends=3))
        table = fv.compare(made(), other, labels=["five", "three"]).to_frame()
        assert set(table["measure"]) == {"g", "c_r"} and len(table) == 15
        np.testing.assert_allclose(
            table[table["measure"] == "g"]["five"], made().g.values.ravel(), atol=1e-12
        )


def test_several_relations_weigh_alike() -> None:
    many, few = facts(24), facts(8, relation="q")
    found = fv.decompose_mlps(tiny("gpt2"), [*many, *few], layers=1)
    assert any("2 relations, which weigh alike" in note for note in found.provenance["notes"])
    three = fv.decompose_mlps(tiny("gpt2"), [*many, *few, *few, *few], layers=1)
    np.testing.assert_allclose(found.g, three.g, atol=1e-10)
    table = found.dataset["moments"].values[0]
    coefficients = found.dataset["coefficient"].values[0]
    assert explained(table, coefficients) == pytest.approx(float(found.dataset["r2_fit"][0]))


class TestShown:
    @pytest.mark.parametrize("show", ["coefficients", "intercept"])
    def test_one_layer(self, show: str) -> None:
        from factviz.views.presenter import build

        figure = build(made().view(show=show, layer=1))
        assert len(figure.spec["panels"]) == 1 and figure.spec["choose"] is None
        first = figure.spec["panels"][0][0]
        assert "MLP 1" in first["title"]
        if show == "coefficients":
            drawn = figure.values(first["values"])
            np.testing.assert_allclose(drawn[:4], made().g.sel(layer=1), rtol=1e-5)
            assert [label.split()[0] for label in first["labels"][:2]] == ["L1H0", "L1H1"]
            assert first["labels"][0].split()[1] == made().words.values[1, 0]
            assert first["low"] and "held out" in figure.spec["caption"]

    def test_all_layers_are_a_choice(self) -> None:
        from factviz.views.presenter import build

        figure = build(made(solver="sgd", steps=500))
        assert sorted(figure.spec["choose"]["options"]) == ["MLP 0", "MLP 1", "MLP 2"]
        marks = [panel["mark"] for panel in figure.spec["panels"][0]]
        assert marks == ["bars", "matrix", "lines", "lines"]

    def test_saved_and_opened(self, tmp_path: Any) -> None:
        result = made().view(show="intercept", layer=2)
        for suffix in (".html", ".png", ".svg", ".csv", ".parquet"):
            assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
        again = fv.open_result(tmp_path / "one.html")
        assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
        assert again.view_options == {"show": "intercept", "layer": 2}
        assert repr(again) == repr(result) and again.to_frame().equals(result.to_frame())
        assert again.geometry().equals(result.geometry())
        assert "gpt2" in result._repr_mimebundle_()["text/html"]

    def test_hostile_text_is_text(self) -> None:
        from factviz.views import html
        from factviz.views.presenter import build
        from tests import parsed
        from tests.hostile import HOSTILE

        texts = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
        words = np.array([texts] * 3, dtype=object)
        data = made().dataset.isel(rank=[0] * len(texts))
        bad = data.assign_coords(top_token=(("layer", "rank"), words))
        changed = MLPDecomposition(bad, made().provenance).view(show="intercept", layer=1)
        page = parsed.Page()
        page.feed(html.fragment(build(changed)))
        tags = [element.tag for element in page.elements]
        assert tags.count("script") == 2 and "iframe" not in tags
        assert "\x1b" not in repr(changed)

    def test_what_is_not_there(self) -> None:
        with pytest.raises(FactvizError, match="view 'circle' is unknown"):
            made().view(show="circle")
        with pytest.raises(FactvizError, match="layer 9 was not fitted"):
            made().view(layer=9)
        with pytest.raises(FactvizError, match="this is no decomposition of MLPs"):
            MLPDecomposition(made().dataset.drop_vars("r2"), {})


class TestOnTheEmbeddedModel:
    """mini-gpt2: what is stable over seeds of the draws; it is no claim on larger models."""

    @pytest.fixture(scope="class")
    @classmethod
    def result(cls) -> MLPDecomposition:
        model = fv.load_model("mini-gpt2")
        some = fv.FactSet.builtin().select(relation="country_capital").known(model)[:100]
        return fv.decompose_mlps(model, some, controls=10)

    def test_most_of_r2_against_zero_is_the_mean_vector(self, result: MLPDecomposition) -> None:
        assert (result.r2 < 0.25).all()
        assert (result.dataset["r2_zero"].mean("fold") > result.r2 + 0.1).all()

    def test_a_little_of_late_mlps_is_linear_in_their_heads(self, result: MLPDecomposition) -> None:
        late = result.dataset.isel(layer=slice(3, None))
        assert (late["r2"].mean("fold") > late["control_r2"].max("shuffle") + 0.02).all()
        assert result.fits.values[3:].all()
        assert {"weakens", "erases"} & set(result.words.values[3:].ravel())

    def test_the_intercept_points_to_the_answers_type(self, result: MLPDecomposition) -> None:
        table = result.geometry()
        rows = table[(table["layer"] == 3) & (table["vector"] == "b")].set_index("direction")
        assert rows.loc["answer type", "cosine"] > rows.loc["random", "high"]
        assert rows.loc["answer type", "cosine"] > 1.5 * rows.loc["Y − X", "cosine"]
