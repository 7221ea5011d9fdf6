"""Path patching: what each head and MLP sends to a receiver (arXiv 2403.19521, METHODS.md P2)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from factviz.analysis.components import SAME
from factviz.analysis.controls import check_draws
from factviz.analysis.outcomes import (
    Prompts,
    Target,
    generators,
    read_prompts,
    target_ids,
    target_texts,
)
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.paths import Paths, Pi
from factviz.analysis.places import told
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.receivers import Named, Receiver, read_receiver
from factviz.analysis.sender_places import Place, Spots, spots
from factviz.facts.counterfactuals import counterfactuals as made_from
from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.models.frozen import AtPosition, Shifts, record_position
from factviz.results.path_patching import PathPatching

Mode = Literal["mean", "sample"]
PROJECTION = "P2: π = the answer's logit − the vocabulary's mean, at END"
CONTROL = "each sender moved as far in a random direction"
_MEMORY = 256 * 2**20  # bytes of states held at once


@torch.inference_mode()
def patch_paths(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    counterfactuals: Fact | Iterable[Fact] | str,
    *,
    at: Place = "end",
    receiver: Named | Iterable[Named] = "resid_final",
    freeze_mlps: bool = False,
    mode: Mode = "mean",
    target: Target = "answer",
    controls: int = 1,
    seed: int = 0,
) -> PathPatching:
    """How much of the answer's logit runs from every head and MLP to a receiver.

    The original prompts are run with the queries, keys and values of all heads frozen and one
    sender's output replaced by that of counterfactual prompts; what the receiver then holds is put
    into the original run, and π read at END: the answer's logit minus the vocabulary's mean. The
    effect is 100 · (mean π_patched − mean π_base) / mean π_base.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    counterfactuals : Fact, iterable of Fact, FactSet or str
        Where the senders' other outputs come from. A name is a recipe of
        `factviz.facts.counterfactuals`, applied to ``facts`` with ``seed``.
    at : str or int
        Where senders are replaced and the receiver's input is read, in both prompts: "end",
        "topic" (the subject, if a fact names none), "subject_last", "relation", …, or a position
        (−1 is END). Of several tokens the last is taken, and the result says so.
    receiver
        "resid_final", the residual at END before the final norm; a head's input, "L9H8.q" or
        ("q", 9, 8), likewise k and v; an MLP's input, "mlp 5"; or a list of one input of heads of
        one layer, replaced together. Under grouped-query attention a key or value is that of its
        whole group. Heads' k and v are those that the position gives to all later ones.
    freeze_mlps : bool
        Freeze the MLPs too: what is left is the direct path.
    mode : {"mean", "sample"}
        Replace by the mean over the counterfactuals, of any number; or by that of the
        counterfactual with the fact's own number.
    target : "answer", "top1" or int
        The token whose π is read.
    controls : int
        Draws of the control: each sender moved as far in a random direction. 0 draws none.
    seed : int
        Of the control, and of a recipe.

    Returns
    -------
    PathPatching
        Effects [layer, head] and [layer]; NaN for senders that do not lie before the receiver.

    Raises
    ------
    FactvizError
        If the receiver, a position or a recipe is unknown, no sender or no path leads to the
        receiver, sample-wise sets differ in size, counterfactuals change nothing, activations are
        not finite, or the blocks, run by themselves, do not give what the model gives.

    Warns
    -----
    FactvizWarning
        If mean π is not above 0: the percentage is then NaN, the change in logits stands.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521; its code.
    """
    if mode not in ("mean", "sample"):
        raise FactvizError(f"mode {mode!r} is unknown: 'mean' or 'sample'")
    check_draws(controls)
    prompts = read_prompts(model, facts)
    recipe = counterfactuals if isinstance(counterfactuals, str) else ""
    if isinstance(counterfactuals, str):
        counterfactuals = made_from(prompts.facts, counterfactuals, seed=seed)
    sources = read_prompts(model, counterfactuals)
    if mode == "sample" and len(sources.facts) != len(prompts.facts):
        raise FactvizError(
            f"{len(sources.facts)} counterfactuals for {len(prompts.facts)} facts: sample-wise "
            "patching needs one for each; mode='mean' takes any number"
        )
    wanted = read_receiver(model, receiver)
    here, there = spots(prompts, at), spots(sources, at)
    _check_reach(prompts, wanted, here, at)
    job = _Job(prompts, here, wanted, freeze_mlps=freeze_mlps, draws=controls, seed=seed)
    shifts = _shifts(job.clean, _recorded(sources, there), mode)
    _check_moved(prompts, job.clean, shifts)
    asked = {
        "receiver": wanted.name,
        "at": told(at),
        "mode": mode,
        "mlps": "frozen" if freeze_mlps else "recomputed",
        "counterfactuals": f"{len(sources.facts)} prompts"
        + (f", {recipe.replace('_', ' ')}" if recipe else ""),
        "counterfactual_prompts": [fact.prompt for fact in sources.facts],
    }
    notes = [wanted.note, here.note(at, prompts.tokens)]
    return job.run(target_ids(prompts, target), shifts, target, asked, [n for n in notes if n])


def _recorded(prompts: Prompts, where: Spots) -> AtPosition:
    return record_position(prompts.model, [row.ids for row in prompts.tokens], where.at)


def _check_reach(prompts: Prompts, receiver: Receiver, here: Spots, at: Place) -> None:
    if receiver.kind != "resid_final":
        return
    for row, position in zip(prompts.tokens, here.at, strict=True):
        if position != len(row) - 1:
            raise FactvizError(
                f"no path leads from at={at!r} to the final residual at END: with every q, k and v "
                "frozen a sender reaches its own position alone. Senders there have receivers "
                "there: a head's k or v, as receiver='L2H0.v', or 'mlp 2'"
            )


def _shifts(clean: AtPosition, other: AtPosition, mode: Mode) -> Shifts:
    """By how much the senders' outputs change; a mean is summed in double precision."""
    pairs = ((clean.heads, other.heads), (clean.mlps, other.mlps))
    if mode == "sample":
        heads, mlps = (new - own for own, new in pairs)
    else:
        heads, mlps = (new.double().mean(0).to(own) - own for own, new in pairs)
    return Shifts(heads, mlps)


def _check_moved(prompts: Prompts, clean: AtPosition, shifts: Shifts) -> None:
    """Refuse a counterfactual on which every sender writes what it writes in the original."""
    pairs = ((shifts.heads, clean.heads), (shifts.mlps, clean.mlps))
    still = torch.stack(
        [
            move.flatten(1).abs().amax(1) <= SAME * own.flatten(1).abs().amax(1)
            for move, own in pairs
        ]
    ).all(0)
    if bool(still.any()):
        fact = int(still.nonzero()[0, 0])
        raise FactvizError(
            f"fact {fact} ({prompts.facts[fact].prompt[:80]!r}): every head and MLP writes the "
            "same there on the counterfactual as on the original, so that nothing changes: give "
            "another counterfactual, or another position"
        )


class _Job:
    """Facts chunk by chunk, as numbers [fact, run, sender]: run 0 the effect, then the controls."""

    def __init__(
        self,
        prompts: Prompts,
        here: Spots,
        receiver: Receiver,
        *,
        freeze_mlps: bool,
        draws: int,
        seed: int,
    ) -> None:
        self.prompts, self.here, self.receiver = prompts, here, receiver
        self.draws, self.rngs = draws, generators(len(prompts.facts), seed)
        self.freeze_mlps = freeze_mlps
        self.clean = _recorded(prompts, here)
        self.base: list[np.ndarray] = []
        self.effects: list[np.ndarray] = []

    def run(
        self,
        wanted: Sequence[int | None],
        shifts: Shifts,
        target: Target,
        asked: dict[str, Any],
        notes: Sequence[str],
    ) -> PathPatching:
        """All facts; after an interrupt those that are done."""
        tops = self.clean.logits.argmax(-1).tolist()
        ids = [tops[i] if token is None else token for i, token in enumerate(wanted)]
        pi = Pi(self.prompts.model, ids)
        paths = Paths(
            self.prompts.model,
            [row.ids for row in self.prompts.tokens],
            self.here.at,
            self.receiver,
            pi,
            freeze_mlps=self.freeze_mlps,
        )

        def packed() -> PathPatching | None:
            return self._packed(ids, target, asked, notes) if self.base else None

        with kept_on_interrupt(packed):
            for part in progress(self._parts(), "patch paths"):
                self._chunk(paths, pi, part, shifts)
        found = packed()
        assert found is not None
        return found

    def _parts(self) -> list[slice]:
        clean, model = self.clean, self.prompts.model
        senders = model.n_layers * (model.n_heads + 1)
        size = 3 * senders * model.d_model * clean.residual.element_size()
        step = max(1, min(len(clean.mlps), _MEMORY // size))
        if self.receiver.kind != "resid_final":
            step = min(step, 8)  # prompts are run one by one there: what is done survives
        return [slice(i, i + step) for i in range(0, len(clean.mlps), step)]

    def _chunk(self, paths: Paths, pi: Pi, part: slice, shifts: Shifts) -> None:
        clean, moved = self.clean.take(part), shifts.take(part)
        rngs = self.rngs[part]
        runs = [moved] + [_random(moved, rngs) for _ in range(self.draws)]
        self.effects.append(paths.effects(part, clean, runs))
        self.base.append(pi.of_logits(part, clean.logits).double().cpu().numpy())

    def _packed(
        self, ids: Sequence[int], target: Target, asked: dict[str, Any], notes: Sequence[str]
    ) -> PathPatching:
        model, base = self.prompts.model, np.concatenate(self.base)
        done, effects = len(base), np.concatenate(self.effects)
        cube = effects.reshape(done, 1 + self.draws, model.n_layers, model.n_heads + 1)
        tokens = self.prompts.tokens[:done]
        unit = {"units": "logits"}
        dims = ("fact", "layer", "head")
        data: dict[str, Any] = {
            "heads": (dims, cube[:, 0, :, :-1], unit),
            "mlps": (dims[:2], cube[:, 0, :, -1], unit),
            "base": (dims[:1], base, unit),
        }
        if self.draws:
            drawn = np.moveaxis(cube[:, 1:], 1, -1)
            data["control_heads"] = ((*dims, "draw"), drawn[:, :, :-1], unit)
            data["control_mlps"] = ((*dims[:2], "draw"), drawn[:, :, -1], unit)
        spot = [row.texts[p] for row, p in zip(tokens, self.here.at, strict=False)]
        coords = {
            **fact_coordinates(self.prompts.facts[:done]),
            "layer": np.arange(model.n_layers),
            "head": np.arange(model.n_heads),
            "position": ("fact", np.array(self.here.at[:done])),
            "position_token": ("fact", np.array(spot, dtype=object)),
            "target_id": ("fact", np.array(ids[:done])),
            "target_token": ("fact", target_texts(model, ids[:done])),
        }
        dataset = xr.Dataset(data, coords=coords, attrs={"single": self.prompts.single})
        made = PathPatching(dataset, self._origin(tokens, target, asked, notes))
        if not made.base > 0:
            said = (
                f"π is {made.base:.3g} logits on average, not above 0: effects have no percentage, "
                "only their change in logits (delta)"
            )
            warnings.warn(said, FactvizWarning, stacklevel=3)
            made.provenance["notes"].append(said)
        return made

    def _origin(
        self, tokens: Any, target: Target, asked: dict[str, Any], notes: Sequence[str]
    ) -> dict[str, Any]:
        model = self.prompts.model
        name = {"answer": "the answer", "top1": "the clean run's top-1"}.get(
            str(target), f"token {target}"
        )
        return provenance(
            model,
            tokens,
            kind=PathPatching.kind,
            projection=PROJECTION + before_cap(model),
            layer_norm="recomputed in every patched run",
            target=f"π of {name}",
            notes=notes,
            control=CONTROL if self.draws else "none",
            **asked,
        )


def _random(moved: Shifts, rngs: Sequence[np.random.Generator]) -> Shifts:
    """Random directions, each as long as the change that it stands beside."""

    def like(change: Tensor) -> Tensor:
        drawn = np.stack([rng.standard_normal(change.shape[1:]) for rng in rngs])
        noise = torch.from_numpy(drawn).to(change)
        return noise * change.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)

    return Shifts(like(moved.heads), like(moved.mlps))
