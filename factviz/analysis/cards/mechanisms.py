"""What a model shows of P2: paths, MLPs as maps, mitigation, where heads begin to write."""

from __future__ import annotations

from typing import Any

from factviz.analysis.cards.recall import in_half
from factviz.analysis.mitigation import mitigate
from factviz.analysis.mlp_decomposition import decompose_mlps
from factviz.analysis.movers import find_movers
from factviz.analysis.path_patching import patch_paths
from factviz.analysis.shot_comparison import compare_shots
from factviz.facts.counterfactuals import counterfactuals
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel
from factviz.models.parallel import parallel_blocks
from factviz.results.path_patching import sender_name

MOST = 8
GAINS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHOTS = (0, 1, 2)


def measure_senders(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """The strongest senders to the final residual, prompts about other topics as counterfactuals.

    Returns
    -------
    dict
        facts, base (π, logits), strongest: list of sender, delta and control ([mean, low, high],
        logits), change (the same in percent of π).
    """
    pool = FactSet.builtin()
    found = patch_paths(
        model, facts, counterfactuals(facts, "other topic", among=pool, seed=seed), seed=seed
    )
    rows: Any = found.strongest(MOST).to_dict("records")
    edges = {"delta": ("delta", "low", "high")}
    edges |= {name: (name, f"{name}_low", f"{name}_high") for name in ("control", "change")}
    return {
        "facts": len(facts),
        "base": round(found.base, 4),
        "strongest": [
            {"sender": sender_name(row)}
            | {name: [round(float(row[e]), 4) for e in three] for name, three in edges.items()}
            for row in rows
        ],
    }


def measure_answer_heads(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """Heads that attend to the topic where they write the answer: heads by name, facts."""
    found = find_movers(model, facts, written="answer", seed=seed)
    heads = [f"L{layer}H{head}" for layer, head in found.movers]
    return {"heads": heads, "facts": len(facts)}


def measure_maps(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """MLPs as linear maps of heads, of those before the layer where blocks are parallel.

    Returns
    -------
    dict
        facts, heads (in words), layers: list of layer, r2, r2_control, r2_zero, and of the head
        with the largest |g|: head, g [value, low, high], word.
    """
    parallel = parallel_blocks(model, model.tokenize(facts[0]).ids)
    found = decompose_mlps(model, facts, heads="previous" if parallel else "own", seed=seed)
    frame: Any = found.to_frame()
    rows: list[dict[str, Any]] = []
    for layer, own in frame[frame["term"] != "rest"].groupby("layer"):
        top = own.loc[own["g"].abs().idxmax()]
        rows.append(
            {"layer": int(layer)}
            | {n: round(float(top[n]), 4) for n in ("r2", "r2_control", "r2_zero")}
            | {"head": top["term"], "word": top["word"]}
            | {"g": [round(float(top[n]), 4) for n in ("g", "low", "high")]}
        )
    heads = "the heads of the layer before" if parallel else "its layer's heads"
    return {"facts": len(facts), "heads": heads, "layers": rows}


def measure_mitigation(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """Suppressors scaled, against temperature scaling; known facts and others.

    Returns
    -------
    dict
        components, gain, temperature, methods: for each the measures as [value, low, high].
    """
    found = mitigate(model, facts, GAINS, seed=seed)
    table: Any = found.table()
    methods: dict[str, dict[str, list[float]]] = {}
    for row in table.to_dict("records"):
        band = [round(float(row[name]), 4) for name in ("value", "low", "high")]
        methods.setdefault(row["method"], {})[row["measure"]] = band
    return {
        "components": found.components,
        "gain": found.gain,
        "temperature": round(found.temperature, 4),
        "methods": methods,
    }


def measure_onsets(model: FactModel, facts: FactSet, half: str, *, seed: int = 0) -> list[Any]:
    """Where heads begin to write answer and topic, by number of shots.

    Returns
    -------
    list of dict
        shots; for answer_write, topic_write, attention: layer (None where there is none) and half
        (where half of the largest difference is reached).
    """
    pool = in_half(FactSet.builtin(), half)
    frame: Any = compare_shots(model, facts, counts=SHOTS, among=pool, seed=seed).onsets()
    rows: dict[int, dict[str, Any]] = {}
    for row in frame.to_dict("records"):
        layer = int(row["layer"]) if row["found"] else None
        own = rows.setdefault(int(row["shots"]), {"shots": int(row["shots"])})
        own[row["measure"]] = {"layer": layer, "half": int(row["half_layer"]) if layer is not None
                               else None}  # fmt: skip
    return list(rows.values())
