"""`Comparison`: results side by side, entry by entry, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from factviz.facts.errors import FactvizError
from factviz.results.additive_motif import AdditiveMotif
from factviz.results.attribution import Attribution
from factviz.results.base import Result
from factviz.results.causal import Causal
from factviz.results.class_rule import CLASSES
from factviz.results.factwise import Dims, check
from factviz.results.head_classes import ALL, HeadClasses
from factviz.results.head_effects import HeadEffects
from factviz.results.head_profile import HeadProfile
from factviz.results.mlp_boosts import MLPBoosts
from factviz.results.path_patching import PathPatching, sender_name
from factviz.results.shown import number, shown

Entries = dict[tuple[str, str], float]
"""A number by (measure, name)."""


class Comparison(Result):
    """Results of one kind side by side.

    Variables: value [entry, result]; ceiling [measure_name, result], the rank correlation of the
    two halves of a result's own subjects (NaN where there is none). Coordinates measure and name
    [entry], label [result], and class_name [entry, result] for heads with classes.
    """

    kind: ClassVar[str] = "Comparison"
    variables: ClassVar[Dims] = {
        "value": ("entry", "result"),
        "ceiling": ("measure_name", "result"),
        "class_ceiling": ("class_kind", "result"),
    }
    coords: ClassVar[Dims] = {
        "measure": ("entry",),
        "name": ("entry",),
        "label": ("result",),
        "class_name": ("entry", "result"),
        "measure_name": ("measure_name",),
        "class_kind": ("class_kind",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "comparison", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def labels(self) -> list[str]:
        """The results, by name."""
        return [str(label) for label in self.dataset["label"].values]

    def to_frame(self) -> pd.DataFrame:
        """One row for each entry, one column for each result.

        Returns
        -------
        DataFrame
            measure, name, then a column for each result; with head classes also "… class".
        """
        data = self.dataset
        columns: dict[str, Any] = {n: data[n].values for n in ("measure", "name")}
        for index, label in enumerate(self.labels):
            columns[label] = data["value"].values[:, index]
        if (data["class_name"].values != "").any():
            for index, label in enumerate(self.labels):
                columns[f"{label} class"] = data["class_name"].values[:, index]
        return pd.DataFrame(columns)

    def agreement(self) -> pd.DataFrame:
        """How far each pair of results agrees, beside what halves of one result do.

        Returns
        -------
        DataFrame
            first, second, measure, entries (how many both have), pearson, spearman, ceiling (rank
            correlation between halves of the same result's subjects, mean of the two results);
            jaccard (for each class: heads that have it in both over heads that have it in either)
            with jaccard's own ceiling. NaN where something cannot be said.
        """
        data = self.dataset
        measures = data["measure"].values
        rows: list[dict[str, Any]] = []
        for first, second in combinations(range(len(self.labels)), 2):
            pair = {"first": self.labels[first], "second": self.labels[second]}
            for index, measure in enumerate(map(str, data["measure_name"].values)):
                values = data["value"].values[measures == measure][:, [first, second]]
                values = values[~np.isnan(values).any(1)]
                row = pair | {"measure": measure, "entries": len(values)}
                row |= {"pearson": correlation(*values.T), "spearman": rank_correlation(*values.T)}
                ceilings = data["ceiling"].values[index, [first, second]]
                rows.append(row | {"jaccard": np.nan, "ceiling": float(ceilings.mean())})
            rows += self._classes(pair, first, second)
        return pd.DataFrame(rows)

    def _classes(self, pair: dict[str, str], first: int, second: int) -> list[dict[str, Any]]:
        names = self.dataset["class_name"].values
        there = names[:, 0] != ""
        rows: list[dict[str, Any]] = []
        for index, kind in enumerate(map(str, self.dataset["class_kind"].values)):
            if not there.any():
                continue
            found = jaccard(names[there, first] == kind, names[there, second] == kind)
            ceilings = self.dataset["class_ceiling"].values[index, [first, second]]
            row = pair | {"measure": f"{kind} heads", "entries": int(there.sum())}
            row |= {"pearson": np.nan, "spearman": np.nan, "jaccard": found}
            rows.append(row | {"ceiling": float(ceilings.mean())})
        return rows

    def view(self) -> Comparison:
        """The same result; there is nothing to choose."""
        return self._with_view()

    def _summary(self) -> list[str]:
        table: Any = self.agreement()
        kind = self.provenance.get("compared", "results")
        lines: list[str] = []
        for row in table.to_dict("records")[:8]:
            name = "jaccard" if not np.isnan(row["jaccard"]) else "spearman"
            lines.append(
                f"{shown(row['first'], limit=30)} / {shown(row['second'], limit=30)}: "
                f"{row['measure']} {name} {number(row[name])}"
                + ("" if np.isnan(row["ceiling"]) else f" (halves {number(row['ceiling'])})")
            )
        return [f"Comparison of {len(self.labels)} × {kind}: {', '.join(self.labels)}", *lines]


def correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Pearson's r; NaN for fewer than three entries, or where one does not vary."""
    if len(x) < 3 or x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def rank_correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Spearman's ρ; equals share their rank."""
    ranks = [pd.Series(values).rank().to_numpy(np.float64) for values in (x, y)]
    return correlation(*ranks)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """What both have over what either has; NaN where neither has any."""
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else float("nan")


def compare(*results: Result, labels: Sequence[str] | None = None) -> Comparison:
    """Put results of one kind side by side, with their agreement.

    Two models, two checkpoints, two wordings: numbers are matched by name (heads by layer and
    number, parts, roles, interventions).

    Parameters
    ----------
    *results
        Two or more of the same kind: HeadClasses, Attribution, AdditiveMotif, HeadProfile,
        MLPBoosts, HeadEffects, Causal or MLPDecomposition.
        MLPBoosts, HeadEffects, PathPatching or Causal.
    labels : sequence of str, optional
        A name for each; model names without them.

    Returns
    -------
    Comparison

    Raises
    ------
    FactvizError
        If there are fewer than two, their kinds differ or cannot be compared, or they have no entry
        in common.
    """
    if len(results) < 2:
        raise FactvizError(f"{len(results)} results can't be compared: give 2 or more")
    kinds = list(dict.fromkeys(type(result).__name__ for result in results))
    if len(kinds) > 1:
        raise FactvizError(f"a {kinds[0]} can't be compared with a {kinds[1]}: give one kind")
    if kinds[0] not in _ENTRIES:
        raise FactvizError(f"a {kinds[0]} can't be compared: {', '.join(_ENTRIES)} can")
    names = _labels(results, labels)
    entries = [_ENTRIES[kinds[0]](result) for result in results]
    keys = [key for key in entries[0] if all(key in one for one in entries[1:])]
    if not keys:
        raise FactvizError(
            f"the {kinds[0]}s have nothing in common: {list(entries[0])[:3]} against "
            f"{list(entries[1])[:3]}"
        )
    dataset = _packed(results, entries, keys, names)
    models = [str(result.provenance.get("model", "unknown model")) for result in results]
    said = {
        "kind": Comparison.kind,
        "compared": kinds[0],
        "model": " / ".join(dict.fromkeys(models)),
        "models": models,
        "weight_hashes": [str(r.provenance.get("weight_hash", "")) for r in results],
        "projection": str(results[0].provenance.get("projection", "")),
        "layer_norm": str(results[0].provenance.get("layer_norm", "not stated")),
        "factviz": results[0].provenance.get("factviz", ""),
        "notes": _notes(results, entries, keys),
    }
    return Comparison(dataset, said)


def _labels(results: Sequence[Result], labels: Sequence[str] | None) -> list[str]:
    if labels is None:
        names = [str(result.provenance.get("model", "result")) for result in results]
        twice = len(set(names)) < len(names)
        return [f"{name} ({i + 1})" if twice else name for i, name in enumerate(names)]
    names = [str(label) for label in labels]
    if len(names) != len(results) or len(set(names)) < len(names):
        raise FactvizError(
            f"{len(names)} labels {names[:6]} for {len(results)} results: one each, all different"
        )
    return names


def _notes(
    results: Sequence[Result], entries: Sequence[Entries], keys: Sequence[tuple[str, str]]
) -> list[str]:
    notes: list[str] = []
    most = max(map(len, entries))
    if most > len(keys):
        notes.append(f"{most - len(keys)} entries are not in all of the results and are left out")
    hashes = {str(result.provenance.get("weight_hash", "")) for result in results}
    if len(hashes) > 1 and any(measure.endswith("_dla") or measure == "g" for measure, _ in keys):
        notes.append(
            "the weights differ: heads are matched by number, which means something for "
            "checkpoints of one model only; shares of classes compare between models"
        )
    return notes


def _packed(
    results: Sequence[Result],
    entries: Sequence[Entries],
    keys: Sequence[tuple[str, str]],
    labels: list[str],
) -> xr.Dataset:
    measures = list(dict.fromkeys(measure for measure, _ in keys))
    classes = np.full((len(keys), len(results)), "", dtype=object)
    ceiling = np.full((len(measures), len(results)), np.nan)
    kinds = np.full((len(CLASSES), len(results)), np.nan)
    for column, result in enumerate(results):
        if not isinstance(result, HeadClasses):
            continue
        named = result.classes.sel(relation=ALL).values
        for row, (measure, name) in enumerate(keys):
            if measure == "subject_dla":
                layer, head = (int(part) for part in name[1:].split("H"))
                classes[row, column] = named[layer, head]
        ceiling[:, column], kinds[:, column] = _ceilings(result, measures)
    return xr.Dataset(
        {
            "value": (("entry", "result"), [[one[key] for one in entries] for key in keys]),
            "ceiling": (("measure_name", "result"), ceiling),
            "class_ceiling": (("class_kind", "result"), kinds),
        },
        coords={
            "measure": ("entry", np.array([measure for measure, _ in keys], dtype=object)),
            "name": ("entry", np.array([name for _, name in keys], dtype=object)),
            "label": ("result", np.array(labels, dtype=object)),
            "class_name": (("entry", "result"), classes),
            "measure_name": np.array(measures, dtype=object),
            "class_kind": np.array(CLASSES, dtype=object),
        },
    )


def _ceilings(
    result: HeadClasses, measures: Sequence[str]
) -> tuple[Float[np.ndarray, " measure"], Float[np.ndarray, " class_kind"]]:
    """What two halves of the same facts agree on: nothing can agree much better."""
    try:
        halves = result.halves()
    except FactvizError:
        return np.full(len(measures), np.nan), np.full(len(CLASSES), np.nan)
    one, two = (_classes(half) for half in halves)
    found = [rank_correlation(_values(one, measure), _values(two, measure)) for measure in measures]
    first, second = (half.classes.sel(relation=ALL).values for half in halves)
    return np.array(found), np.array([jaccard(first == kind, second == kind) for kind in CLASSES])


def _values(entries: Entries, wanted: str) -> Float[np.ndarray, " entry"]:
    return np.array([value for (measure, _), value in entries.items() if measure == wanted])


def _classes(result: HeadClasses) -> Entries:
    bands = result.bands().sel(relation=ALL)
    found = {
        (measure, f"L{layer}H{head}"): float(bands[measure].values[layer, head])
        for measure in ("subject_dla", "relation_dla")
        for layer in range(bands.sizes["layer"])
        for head in range(bands.sizes["head"])
    }
    table: Any = result.shares()
    for row in table[table["relation"] == ALL].to_dict("records"):
        for measure in ("share_of_heads", "share_of_dla"):
            found[measure, row["class"]] = row[measure]
    return found


def _attribution(result: Attribution) -> Entries:
    first = result.dataset.isel(attribute=0)
    heads = first["heads"].sum("source").mean("fact").values
    found = {("head", f"L{i}H{j}"): float(value) for (i, j), value in np.ndenumerate(heads)}
    mlps = first["mlps"].mean("fact").values
    return found | {("mlp", f"MLP {i}"): float(value) for i, value in enumerate(mlps)}


def _motif(result: AdditiveMotif) -> Entries:
    rows: Any = result.table().to_dict("records")
    return {
        (measure, row["part"]): float(row[measure])
        for measure in ("contribution", "same_subject", "same_relation", "top1")
        for row in rows
    }


def _bands(result: HeadProfile | MLPBoosts) -> Entries:
    mean = result.bands()["mean"]
    found: Entries = {}
    for at, value in np.ndenumerate(mean.values):
        name = " ".join(str(mean[d].values[i]) for d, i in zip(mean.dims, at, strict=True))
        found["contribution", name] = float(value)
    return found


def _effects(result: HeadEffects) -> Entries:
    bands = result.bands(n_boot=2)
    return {
        (measure, f"L{i}H{j}"): float(value)
        for measure in ("dla", "effect")
        for (i, j), value in np.ndenumerate(bands[measure].values)
    }


def _paths(result: PathPatching) -> Entries:
    rows = result.to_frame().to_dict("records")
    return {
        (measure, sender_name(row)): float(row[measure])
        for measure in ("delta", "change")
        for row in rows
    }


def _causal(result: Causal) -> Entries:
    found: Entries = {}
    for measure in ("probability", "logit"):
        rows: Any = result.effects(measure, n_boot=2).to_dict("records")
        found |= {(measure, str(row["component"])): float(row["effect"]) for row in rows}
    return found


def _decomposition(result: Any) -> Entries:
    frame = result.to_frame()
    return {
        ("g" if row["term"] != "rest" else "c_r", f"{row['term']} in m{row['layer']}"): row["g"]
        for row in frame.to_dict("records")
    }


_ENTRIES: dict[str, Callable[[Any], Entries]] = {
    "HeadClasses": _classes,
    "Attribution": _attribution,
    "AdditiveMotif": _motif,
    "HeadProfile": _bands,
    "MLPBoosts": _bands,
    "HeadEffects": _effects,
    "PathPatching": _paths,
    "Causal": _causal,
    "MLPDecomposition": _decomposition,
}
