"""Scale down what holds the answer back, against temperature scaling (arXiv 2403.19521)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from factviz.analysis.components import Component, Named, component_sets
from factviz.analysis.controls import check_draws
from factviz.analysis.gain_runs import GainRuns
from factviz.analysis.outcomes import Prompts, read_prompts
from factviz.analysis.partial import kept_on_interrupt
from factviz.analysis.provenance import fact_coordinates, provenance
from factviz.analysis.suppressors import find_suppressors
from factviz.facts.checks import check_counts
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel, check_model
from factviz.results.calibration import BINS
from factviz.results.halves import subject_halves
from factviz.results.mitigation import CRITERIA, Mitigation, point


@torch.inference_mode()
def mitigate(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    gains: Iterable[float],
    *,
    components: Named | Iterable[Named] | None = None,
    criterion: Literal["nll", "brier", "ece"] = "nll",
    bins: int = BINS,
    controls: int = 1,
    allow_outside: bool = False,
    allow_idle: bool = False,
    n_boot: int = 200,
    seed: int = 0,
) -> Mitigation:
    """Scale what suppressing parts write at END by a gain, and compare with temperature scaling.

    Gain and temperature are chosen on the facts of one half of the subjects, and judged on those
    of the other: accuracy, P(answer), calibration (ECE of the most probable token, bins of equal
    mass), Brier score and negative log-likelihood, each with its interval. The control scales as
    many random parts. A gain of 1 changes nothing, exactly. The paper's own recipe is uncertain
    (METHODS.md): this is the project's.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        All are asked, known or not: calibration is about wrong answers too.
    gains : iterable of float
        Those to try, 0 (the part is removed) to 1 (left as it is).
    components : optional
        Parts to scale together, as `ablate` takes them. Without it: what `find_suppressors` finds
        on the choosing half; where that is nothing, nothing is scaled, and the result says so.
    criterion : {"nll", "brier", "ece"}
        What gain is chosen by, on the choosing half; 1 where none is better. The temperature is
        fitted by nll.
    bins : int
        Of equal mass, for ECE and the reliability diagram.
    controls : int
        1 to scale random parts of the same kinds as well, 0 not to.
    allow_outside : bool
        Let gains below 0 or above 1 pass.
    allow_idle : bool
        Let pass a part that writes exactly 0, so that scaling it changes nothing.
    n_boot, seed : int
        Resamples of subjects behind the 95 % intervals.

    Returns
    -------
    Mitigation

    Raises
    ------
    FactvizError
        If there are no gains, one is not finite or outside [0, 1], a component does not exist,
        facts are of one subject, or logits are not finite; without ``components`` also if the
        choosing half has no fact with R, or a single subject.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521; Guo et al., *On
    Calibration of Modern Neural Networks*, arXiv 1706.04599 (temperature scaling).
    """
    check_model(model)
    tried = checked_gains(gains, allow_outside=allow_outside)
    _check_options(criterion, bins, controls, n_boot)
    found = as_facts(facts)
    halves = subject_halves([f.subject for f in found], [f.relation for f in found], seed=seed)
    if components is None:
        parts, notes = _suppressors(model, [found[row] for row in halves[0]], n_boot, seed)
    else:
        parts, notes = _named(model, components), []
    prompts = read_prompts(model, found)
    runs = GainRuns(prompts, parts, tried if parts else [], controls=bool(controls and parts),
                    allow_idle=allow_idle, seed=seed)  # fmt: skip

    def packed() -> Mitigation | None:
        if not runs.done(halves[1]):
            return None
        asked = {"criterion": criterion, "bins": bins, "n_boot": n_boot, "seed": seed}
        return _packed(prompts, parts, runs, halves, asked=asked, gains=tried, notes=notes)

    with kept_on_interrupt(packed):
        runs.ask(halves[0])
        runs.fit(halves[0])
        runs.ask(halves[1])
    result = packed()
    assert result is not None
    return result


def checked_gains(gains: Iterable[float], *, allow_outside: bool) -> list[float]:
    """The gains to try, each once, in their order.

    Raises
    ------
    FactvizError
        If there are none, or one is no finite number in [0, 1].
    """
    if isinstance(gains, (str, bytes)) or not isinstance(gains, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(f"gains must be a list of numbers, [0, 0.5, 1], not {gains!r}")
    found: list[float] = []
    for gain in gains:
        value = _number(gain)
        if not math.isfinite(value):
            raise FactvizError(f"gain {value!r} is not finite: give 0 to 1")
        if not 0 <= value <= 1 and not allow_outside:
            raise FactvizError(
                f"gain {value:g} is outside [0, 1], where a part is held back: give 0 to 1, or "
                "allow_outside=True"
            )
        found.append(value)
    if not found:
        raise FactvizError("no gains were given: give some like [0, 0.25, 0.5, 0.75, 1]")
    return list(dict.fromkeys(found))


def _number(gain: Any) -> float:
    if isinstance(gain, (bool, np.bool_)) or not isinstance(
        gain, (int, float, np.integer, np.floating)
    ):
        raise FactvizError(f"gain {gain!r} is no number: give some like [0, 0.5, 1]")
    return float(gain)


def _check_options(criterion: str, bins: int, controls: int, n_boot: int) -> None:
    if criterion not in CRITERIA:
        raise FactvizError(f"criterion {criterion!r} is unknown: {', '.join(CRITERIA)}")
    check_draws(controls)
    check_counts(bins=(bins, 1), n_boot=(n_boot, 2))


def _suppressors(
    model: FactModel, facts: Sequence[Fact], n_boot: int, seed: int
) -> tuple[list[Component], list[str]]:
    """What `find_suppressors` finds on the choosing half, and what it says of it."""
    try:
        found = find_suppressors(model, facts, n_boot=n_boot, seed=seed)
    except FactvizError as error:
        raise FactvizError(
            f"suppressors are looked for on the choosing half, {len(facts)} facts: {error}; name "
            "parts with components= to scale them without looking"
        ) from error
    notes = [f"choosing half: {note}" for note in found.provenance["notes"]]
    if not found.components:
        notes.append(
            "no suppressor was found on the choosing half: nothing is scaled; components= names "
            "parts to scale"
        )
        return [], notes
    return _named(model, found.components), notes


def _named(model: FactModel, components: Any) -> list[Component]:
    sets = component_sets(model, components)
    if len(sets) > 1:
        raise FactvizError(
            f"{len(sets)} sets of components were given: one is scaled at a time; give a list"
        )
    return list(next(iter(sets.values())))


def _packed(
    prompts: Prompts,
    parts: Sequence[Component],
    runs: GainRuns,
    halves: Sequence[Sequence[int]],
    *,
    asked: dict[str, Any],
    gains: Sequence[float],
    notes: Sequence[str],
) -> Mitigation:
    """The facts that have run, labelled, and the gain chosen."""
    rows = [row for half in halves for row in half if runs.done([row])]
    rows.sort()
    facts = [prompts.facts[row] for row in rows]
    kinds, values = runs.settings()
    units = {"nll": "nats", "brier": "0 to 2"}
    data: dict[str, Any] = {
        name: (("fact", "setting"), table, {"units": units.get(name, "fraction")})
        for name, table in runs.arrays(rows).items()
    }
    choosing = set(halves[0])
    half = ["choosing" if row in choosing else "judging" for row in rows]
    coords = fact_coordinates(facts) | {
        "half": ("fact", np.array(half, dtype=object)),
        "setting": np.arange(len(kinds)),
        "setting_kind": ("setting", np.array(kinds, dtype=object)),
        "gain": ("setting", np.array(values, dtype=np.float64)),
    }
    dataset = xr.Dataset(data, coords=coords)
    layers, heads = {part.layer for part in parts}, {part.head for part in parts}
    dataset.attrs = asked | {
        "gain": _chosen(dataset, asked["criterion"], asked["bins"]),
        "temperature": runs.temperature,
        "layer": layers.pop() if len(layers) == 1 else -1,
        "head": heads.pop() if len(parts) == 1 else -1,
    }
    origin = provenance(
        prompts.model,
        [prompts.tokens[row] for row in rows],
        kind=Mitigation.kind,
        projection="the model's own probabilities",
        layer_norm="recomputed in every run",
        target="the answer at END",
        notes=[*notes, *runs.notes],
        components=[part.name for part in parts],
        gains=list(gains),
        gain_chosen_by=f"{asked['criterion']} on the choosing half, macro-averaged over relations",
        temperature_fitted_by="nll on the choosing half, macro-averaged over relations",
        control=(
            "the same gain on as many random parts of the same kinds (heads of the same layer, "
            "sublayers of others)"
            if "control" in kinds
            else "none"
        ),
        ece=(
            f"top token, {asked['bins']} bins of equal mass, all facts of a half together; "
            "resampled subjects give larger errors than the whole half, so intervals lie high"
        ),
        brier="Σ over the vocabulary of (p − [is the answer])², 0 to 2",
    )
    return Mitigation(dataset, origin)


def _chosen(dataset: xr.Dataset, criterion: str, bins: int) -> float:
    """The gain with the lowest criterion on the choosing half; of equals the one nearest to 1."""
    data = dataset.isel(fact=dataset["half"].values == "choosing")
    kinds, gains = data["setting_kind"].values, data["gain"].values
    tried = [i for i, kind in enumerate(kinds) if kind in ("unmitigated", "gain")]
    best = min(tried, key=lambda i: (point(data, criterion, i, bins), abs(gains[i] - 1)))
    return float(gains[best])
