"""An MLP as a linear map of heads: which heads it amplifies, which it erases (arXiv 2403.19521)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from factviz.analysis.controls import check_draws
from factviz.analysis.descent import check_settings
from factviz.analysis.directions import working_dtype
from factviz.analysis.intercept_geometry import read_targets
from factviz.analysis.mlp_fitting import Fitter, Settings, Solver, sample
from factviz.analysis.mlp_terms import Heads, check_heads, end_states
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.places import layers_of
from factviz.analysis.provenance import fact_coordinates, provenance, texts
from factviz.analysis.topics import read_topics
from factviz.analysis.writes import vocabulary_logits
from factviz.facts.checks import check_counts
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel, check_model
from factviz.results.mlp_decomposition import DIRECTIONS, REST, VECTORS, MLPDecomposition

SUBJECTS = 4


@torch.inference_mode()
def decompose_mlps(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    layers: int | Iterable[int] | None = None,
    solver: Solver = "exact",
    folds: int = 4,
    heads: Heads = "own",
    scale_dimensions: bool = False,
    rate: float = 0.005,
    momentum: float = 0.99,
    steps: int = 60_000,
    n_boot: int = 200,
    controls: int = 20,
    k: int = 10,
    seed: int = 0,
) -> MLPDecomposition:
    """Write each MLP at END as a linear map of heads: m ≈ Σ c_h · a_h + c_r · r + b over prompts.

    c is one number for each head, b one vector. The fit is least squares with the mean over prompts
    taken out per dimension. Reported is g_h = c_h + c_r, which does not hang on whether r is taken
    before or after attention: 1 + g_h of the head is left behind the MLP; g_h > 0 amplifies it,
    about −1 erases it.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        One prompt set: one relation in one wording says most. Of several relations each weighs
        alike, and what differs between relations counts as explained too.
    layers : int or iterable of int, optional
        All without it; those that cannot be fitted are then left out, and named in a note.
    solver : {"exact", "sgd"}
        "sgd": the paper's gradient descent with momentum, full batch from 0 on; its gap to the
        exact solution stands in the result.
    folds : int
        Of the cross-validation; no two share a subject.
    heads : {"own", "previous"}
        The heads of the MLP's own layer, which it sees in sequential blocks only; or of the layer
        before.
    scale_dimensions : bool
        Divide each dimension by the spread of the MLP's output, so that all count alike.
    rate, momentum, steps
        Of "sgd" (the paper's values).
    n_boot : int
        Resamples of subjects for intervals.
    controls : int
        Fits with the heads' outputs shuffled across the prompts of a relation.
    k : int
        Tokens that the intercept points to most.
    seed : int

    Returns
    -------
    MLPDecomposition
        g, low, high [layer, head], c_r [layer], R² of each held-out fold against the other folds'
        mean output and against zero, that of the control, condition number, the intercepts'
        geometry (`geometry`), and what `transfer` needs.

    Raises
    ------
    FactvizError
        If there are fewer than four subjects or as many as folds, activations are not finite, terms
        are collinear to the point of rank deficiency (they are named), the MLP does not see the
        heads (parallel blocks), or the descent would diverge.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521.
    """
    check_model(model)
    if solver not in ("exact", "sgd"):
        raise FactvizError(f"solver={solver!r} is unknown: 'exact' or 'sgd'")
    check_settings(rate, momentum, steps)
    check_draws(controls)
    check_counts(n_boot=(n_boot, 2), k=(k, 1))
    found = as_facts(facts)
    _check_subjects(found)
    sampling = sample(found, folds=folds, n_boot=n_boot, controls=controls, seed=seed)
    settings = Settings(solver, heads, bool(scale_dimensions), rate, momentum, steps)
    wanted = layers_of(model, layers)
    tokens = model.tokenize_all(found)
    states = end_states(model, tokens)
    check_heads(states, heads)
    topics = read_topics(model, found)
    targets = read_targets(model, found, tokens, topics.ids, seed=seed)
    notes = [*_set_notes(found), *topics.notes]
    job = _Job(found, tokens, Fitter(states, settings, sampling, targets, notes), k)
    with kept_on_interrupt(lambda: job.packed() if job.fitted else None):
        job.run(wanted, strict=layers is not None)
    return job.packed()


@dataclass
class _Job:
    """The fits of the layers, one after the other, and what they come to."""

    facts: list[Fact]
    tokens: list[PromptTokens]
    fitter: Fitter
    k: int
    fitted: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])

    def run(self, wanted: Sequence[int], *, strict: bool) -> None:
        """Fit layers; without ``strict``, what cannot be fitted becomes a note."""
        refused: FactvizError | None = None
        what = "least squares" if self.fitter.settings.solver == "exact" else "gradient descent"
        for layer in progress(wanted, f"{what}, layer by layer"):
            try:
                self.fitted[layer] = self.fitter.fit(layer)
            except FactvizError as error:
                refused = FactvizError(f"layer {layer}: {error}")
                if strict:
                    raise refused from None
                self.fitter.notes.append(f"left out: {refused}")
        if refused is not None and not self.fitted:
            raise refused

    def packed(self) -> MLPDecomposition:
        """The result of what has been fitted."""
        fitter = self.fitter
        settings, states = fitter.settings, fitter.states
        dataset = _packed(states.model, self.facts, fitter, self.fitted, self.k)
        dataset.attrs = {"solver": settings.solver, "heads": settings.heads,
                         "scaled": settings.scaled}  # fmt: skip
        origin = provenance(
            states.model,
            self.tokens,
            kind=MLPDecomposition.kind,
            projection="fit: none, vectors of the residual stream; cosines: P2, γ ⊙ centred W_U",
            layer_norm="none",
            target="the MLP's output at END",
            notes=fitter.notes,
            solver=_told(settings),
            heads=settings.heads,
            blocks="parallel" if states.parallel else "sequential",
            scaled=settings.scaled,
            folds=int(fitter.sampling.fold.max()) + 1,
            control="heads' outputs shuffled across the prompts of each relation",
        )
        return MLPDecomposition(dataset, origin)


def _told(settings: Settings) -> str:
    if settings.solver == "exact":
        return "exact least squares"
    return (
        f"SGD, full batch, rate {settings.rate:g}, momentum {settings.momentum:g}, "
        f"{settings.steps} steps, mean squared error over prompts and dimensions, from 0"
    )


def _check_subjects(facts: Sequence[Fact]) -> None:
    subjects = {fact.subject for fact in facts}
    if len(subjects) < SUBJECTS:
        raise FactvizError(
            f"a regression over {len(facts)} prompts of {len(subjects)} subjects can't be "
            f"cross-validated: give facts of {SUBJECTS} subjects or more, better some dozens"
        )


def _set_notes(facts: Sequence[Fact]) -> list[str]:
    relations = {fact.relation for fact in facts}
    if len(relations) < 2:
        return []
    return [
        f"{len(relations)} relations, which weigh alike: what differs between relations counts as "
        "explained too; fit one relation at a time to see what differs between subjects"
    ]


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    fitter: Fitter,
    fitted: dict[int, dict[str, Any]],
    k: int,
) -> xr.Dataset:
    """Layers side by side; the last term is the rest of the stream."""
    joined = {name: np.stack([made[name] for made in fitted.values()])
              for name in next(iter(fitted.values()))}  # fmt: skip
    data: dict[str, Any] = {
        "fold_of": ("fact", fitter.sampling.fold),
        "cosine": (("fact", "layer", "vector", "direction"), joined["cosine"].swapaxes(0, 1)),
        "random_cosine": (("layer", "vector", "random"), joined["random"]),
        "intercept": (("layer", "dim"), joined["intercept"]),
        "r2": (("layer", "fold"), joined["r2"]),
        "r2_zero": (("layer", "fold"), joined["r2_zero"]),
        "r2_fit": ("layer", joined["r2_fit"]),
        "condition": ("layer", joined["condition"]),
        "control_r2": (("layer", "shuffle"), joined["control_r2"]),
        "inflation": (("layer", "term"), joined["inflation"]),
        "draws": (("layer", "draw", "term"), joined["draws"]),
        "moments": (("layer", "variable", "other_variable"), joined["moments"]),
    }
    names = ("coefficients", "low", "high", "exact", "control_low", "control_high")
    for name in names:
        label = "coefficient" if name == "coefficients" else name
        data[label] = (("layer", "term"), joined[name])
    if "excess" in joined:
        data["excess"] = (("layer", "checkpoint"), joined["excess"])
    data["top"], words = _top_tokens(model, joined["intercept"], k)
    coords = fact_coordinates(facts) | {
        "layer": np.array(list(fitted)),
        "source": ("layer", joined["source"]),
        "term": np.array([*(f"H{head}" for head in range(model.n_heads)), REST], dtype=object),
        "vector": np.array(VECTORS, dtype=object),
        "direction": np.array(DIRECTIONS, dtype=object),
        "top_token": (("layer", "rank"), words),
        "topic_token": ("fact", np.array(_decoded(model, fitter.targets.topic), dtype=object)),
        "answer_token": ("fact", np.array(_decoded(model, fitter.targets.answer), dtype=object)),
    }
    return xr.Dataset(data, coords=coords)


def _decoded(model: FactModel, ids: Iterable[Any]) -> list[str]:
    size = len(model.tokenizer)
    return [model.tokenizer.decode([int(i)]) if int(i) < size else "" for i in ids]


def _top_tokens(
    model: FactModel, intercepts: Float[np.ndarray, "layer d_model"], k: int
) -> tuple[tuple[tuple[str, str], np.ndarray], np.ndarray]:
    """The tokens that each intercept points to most, by its product with γ ⊙ centred W_U."""
    values: list[np.ndarray] = []
    words: list[list[str]] = []
    for one in intercepts:
        vector = torch.from_numpy(one[None]).to(model.device, working_dtype(model))
        scores = vocabulary_logits(model, vector, torch.ones_like(vector[:, 0]))[0].cpu().numpy()
        best = np.argsort(-scores, kind="stable")[:k]
        values.append(scores[best])
        words.append(_decoded(model, best))
    return (("layer", "rank"), np.stack(values)), texts(words, len(words[0]))
