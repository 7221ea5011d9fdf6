"""`HeadClasses`: which heads read the subject, which the relation, which both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results import class_rule
from factviz.results.base import Result
from factviz.results.class_rule import CLASSES
from factviz.results.factwise import FACT_COORDS, Dims, check
from factviz.results.halves import subject_halves
from factviz.results.resampling import macro_means, subject_bands
from factviz.results.shown import number, shown

_HEADS = ("fact", "layer", "head")
ALL = "all"
MEASURES = ("subject_dla", "relation_dla", "subject_lift", "relation_lift")
PLAIN = ("other_dla", "subject_attention", "relation_attention")
"""Means that stand without an interval."""
TESTED = ("preference", "preference_change", "preference_control")


class HeadClasses(Result):
    """The class of every head, by relation and over all of them, with what speaks for it.

    Parameters
    ----------
    dataset
        Variables [fact, layer, head], in logits: subject_dla, relation_dla and other_dla (DLA on
        the answer from subject tokens, relation tokens with END, the rest), subject_lift (S − O
        from subject tokens), relation_lift (R − O from relation tokens), subject_attention and
        relation_attention (fractions), preference, preference_blocked and preference_random (a −
        mean R from relation tokens: clean, RELATION→SUBJECT blocked, as many random keys blocked;
        NaN where it was not tested). Attributes threshold, n_boot and seed.
    provenance
        Model, weight hash, projection and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks one of them.
    """

    kind: ClassVar[str] = "HeadClasses"
    variables: ClassVar[Dims] = {
        "subject_dla": _HEADS,
        "relation_dla": _HEADS,
        "other_dla": _HEADS,
        "subject_lift": _HEADS,
        "relation_lift": _HEADS,
        "subject_attention": _HEADS,
        "relation_attention": _HEADS,
        "preference": _HEADS,
        "preference_blocked": _HEADS,
        "preference_random": _HEADS,
    }
    coords: ClassVar[Dims] = {**FACT_COORDS, "relation_name": ("fact",)}

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "table of head classes", self.variables, self.coords)
        super().__init__(dataset, provenance)
        class_rule.check_threshold(dataset.attrs.get("threshold", 0))
        self._bands: xr.Dataset | None = None

    @property
    def threshold(self) -> float:
        """τ: how much larger one of the two must be."""
        return float(self.dataset.attrs["threshold"])

    @property
    def relations(self) -> list[str]:
        """The relations that have a table of their own: "all", then each by name."""
        return [str(name) for name in self.bands()["relation"].values]

    @property
    def classes(self) -> xr.DataArray:
        """The class of every head [relation, layer, head], as text; relation "all" comes first."""
        bands = self.bands()
        found = class_rule.classes(
            bands["subject_dla"].values,
            bands["relation_dla"].values,
            able=bands["eligible"].values,
            above=self._above(),
            threshold=self.threshold,
        )
        dims = ("relation", "layer", "head")
        return xr.DataArray(found, dims=dims, coords={d: bands[d] for d in dims}, name="class")

    def _above(self) -> np.ndarray:
        bands = self.bands()
        # Of one subject there is no interval, and a comparison with NaN is false.
        return (bands["subject_dla_low"].values > 0) & (bands["relation_dla_low"].values > 0)

    def at(self, threshold: float) -> Self:
        """The same heads under another threshold; nothing is computed again.

        Parameters
        ----------
        threshold
            τ, above 1; on the prototypes the ratios have a valley between 1/3 and 3.

        Raises
        ------
        FactvizError
            If it is no number above 1.
        """
        twin = type(self)(
            self.dataset.assign_attrs(threshold=class_rule.check_threshold(threshold)),
            self.provenance,
        )
        twin.view_options, twin._bands = dict(self.view_options), self._bands
        return twin

    def heads(self, name: str, relation: str = ALL) -> list[tuple[int, int]]:
        """The (layer, head) of one class, as the causal verbs take them; largest DLA first.

        Raises
        ------
        FactvizError
            If there is no such class or relation.
        """
        if name not in CLASSES:
            raise FactvizError(f"class {name!r} is unknown: {', '.join(CLASSES)}")
        row = self._row(relation)
        size = self.bands()["size"].values[row]
        there = zip(*np.nonzero(self.classes.values[row] == name), strict=True)
        return sorted(((int(i), int(j)) for i, j in there), key=lambda at: -size[at])

    def _row(self, relation: str) -> int:
        if relation not in self.relations:
            raise FactvizError(
                f"no relation {shown(str(relation), limit=60)!r} in these classes: "
                + ", ".join(self.relations[:12])
            )
        return self.relations.index(relation)

    def bands(self) -> xr.Dataset:
        """What classes rest on, by relation: means over facts with 95 % intervals.

        Relation "all" is the macro-average over relations; subjects are resampled, not facts.

        Returns
        -------
        Dataset
            [relation, layer, head]: subject_dla, relation_dla, subject_lift, relation_lift,
            preference, preference_change (blocked − clean), preference_control (random keys
            blocked − clean), each also with _low and _high; other_dla, subject_attention,
            relation_attention, size (|DLA|), eligible.
        """
        if self._bands is None:
            self._bands = _banded(self.dataset)
        return self._bands

    def shares(self) -> pd.DataFrame:
        """How many heads each class has, and how much of the attribution.

        Returns
        -------
        DataFrame
            relation, class, heads, share_of_heads, share_of_dla (of all heads' |DLA|),
            subject_attention and relation_attention (mean over the class's heads, fractions).
        """
        bands, names = self.bands(), self.classes.values
        rows: list[dict[str, Any]] = []
        for index, relation in enumerate(self.relations):
            size = bands["size"].values[index]
            for name in CLASSES:
                there = names[index] == name
                row = {
                    "relation": relation,
                    "class": name,
                    "heads": int(there.sum()),
                    "share_of_heads": float(there.mean()),
                    "share_of_dla": float(size[there].sum() / (size.sum() or 1.0)),
                }
                for group in ("subject_attention", "relation_attention"):
                    seen = bands[group].values[index][there]
                    row[group] = float(seen.mean()) if seen.size else np.nan
                rows.append(row)
        return pd.DataFrame(rows)

    def cross_fit(self, relation: str = ALL) -> pd.DataFrame:
        """Heads chosen on one half of the subjects and judged on the other, both ways round.

        Returns
        -------
        DataFrame
            half (on which it was chosen), layer, head, class, judged (its class on the other
            half), and of the other half: subject_dla, relation_dla, subject_lift, relation_lift,
            each with _low and _high. Heads that are unclassified on the choosing half are left
            out.

        Raises
        ------
        FactvizError
            If there are fewer than two subjects.
        """
        both = self.halves()
        rows: list[dict[str, Any]] = []
        for index, (chosen, judge) in enumerate((both, both[::-1])):
            if relation not in chosen.relations or relation not in judge.relations:
                raise FactvizError(f"relation {relation!r} is in one half only: too few subjects")
            names, judged = (one.classes.sel(relation=relation).values for one in (chosen, judge))
            bands = judge.bands().sel(relation=relation)
            for layer, head in zip(*np.nonzero(names != "unclassified"), strict=True):
                row: dict[str, Any] = {
                    "half": index,
                    "layer": int(layer),
                    "head": int(head),
                    "class": names[layer, head],
                    "judged": judged[layer, head],
                }
                for name in MEASURES:
                    for edge in ("", "_low", "_high"):
                        row[name + edge] = float(bands[name + edge].values[layer, head])
                rows.append(row)
        return pd.DataFrame(rows)

    def halves(self) -> tuple[Self, Self]:
        """The classes of two halves of the facts that share no subject.

        Raises
        ------
        FactvizError
            If there are fewer than two subjects.
        """
        data = self.dataset
        subjects = [str(name) for name in data["subject"].values]
        relations = [str(name) for name in data["relation_name"].values]
        rows = subject_halves(subjects, relations, seed=int(data.attrs["seed"]))
        made = [type(self)(data.isel(fact=list(half)), self.provenance) for half in rows]
        return made[0], made[1]

    def to_frame(self) -> pd.DataFrame:
        """One row for each relation and head.

        Returns
        -------
        DataFrame
            relation ("all" is the macro-average), layer, head, class, subject_dla, relation_dla
            (logits), low and high (95 % interval of what the class rests on: subject_dla of a
            subject head, relation_dla of a relation head, the smaller of both of a mixed one, of
            the others the larger in size), then every name of `bands` with its interval, and
            facts (how many).
        """
        bands, names = self.bands(), self.classes.values
        relation, layer, head = np.indices(names.shape).reshape(3, -1)
        at = (relation, layer, head)
        flat = {str(name): bands[name].values[at] for name in bands.data_vars if name != "facts"}
        kinds = names[at]
        subject, other = (np.abs(flat[f"{n}_dla"]) for n in ("subject", "relation"))
        by_subject = np.where(kinds == "mixed", subject <= other, subject >= other)
        edges = {
            edge: np.where(by_subject, flat[f"subject_dla_{edge}"], flat[f"relation_dla_{edge}"])
            for edge in ("low", "high")
        }
        first = {
            "relation": np.array(self.relations, dtype=object)[relation],
            "layer": layer,
            "head": head,
            "class": kinds,
            "subject_dla": flat.pop("subject_dla"),
            "relation_dla": flat.pop("relation_dla"),
            **edges,
        }
        return pd.DataFrame(first | flat | {"facts": bands["facts"].values[relation]})

    def view(self, *, relation: str | None = None) -> Self:
        """The same result, drawn for one relation alone.

        Raises
        ------
        FactvizError
            If there is no such relation.
        """
        if relation is not None:
            self._row(relation)
        twin = self._with_view(**({} if relation is None else {"relation": relation}))
        twin._bands = self._bands
        return twin

    def _summary(self) -> list[str]:
        data = self.dataset
        shares: Any = self.shares()
        rows = shares[shares["relation"] == ALL]
        told = [
            f"{row['class']} {row['heads']} ({number(100 * row['share_of_dla'], 0)} % of |DLA|)"
            for row in rows.to_dict("records")
        ]
        bands = self.bands().sel(relation=ALL)
        lines: list[str] = []
        for name in ("subject", "relation", "mixed"):
            tops = [
                f"L{i}H{j} {number(float(bands['subject_dla'].values[i, j]), sign=True)}/"
                f"{number(float(bands['relation_dla'].values[i, j]), sign=True)}"
                for i, j in self.heads(name)[:5]
            ]
            if tops:
                lines.append(f"{name} heads (subject/relation DLA): " + ", ".join(tops))
        model = self.provenance.get("model", "unknown model")
        return [
            f"Head classes from {data.sizes['fact']} facts of {len(self.relations) - 1} relations "
            f"on {model}, threshold {self.threshold:g}",
            "heads: " + ", ".join(told),
            *lines,
            *(str(note) for note in self.provenance.get("notes", [])[:2]),
            str(self.provenance.get("projection", "projection not stated")),
        ]


def _banded(data: xr.Dataset) -> xr.Dataset:
    names = [str(name) for name in data["relation_name"].values]
    rows = {ALL: np.ones(len(names), dtype=bool)}
    rows |= {name: np.array([n == name for n in names]) for name in sorted(set(names))}
    found = [_one(data.isel(fact=np.flatnonzero(there))) for there in rows.values()]
    dims = ("relation", "layer", "head")
    made: dict[str, Any] = {key: (dims, np.stack([one[key] for one in found])) for key in found[0]}
    able = class_rule.eligible(*(made[n][1] for n in ("subject_dla", "relation_dla", "other_dla")))
    made |= {"eligible": (dims, able)}
    made |= {"facts": ("relation", np.array([there.sum() for there in rows.values()]))}
    coords = {"relation": np.array(list(rows), dtype=object)}
    coords |= {name: np.arange(data.sizes[name]) for name in dims[1:]}
    return xr.Dataset(made, coords=coords)


def _one(data: xr.Dataset) -> dict[str, np.ndarray]:
    """Means and intervals of the facts of one relation, or of all."""
    found: dict[str, np.ndarray] = {}
    found |= _intervals(data, {name: data[name].values for name in MEASURES})
    means = macro_means(
        np.stack([data[name].values for name in PLAIN], 1),
        [str(name) for name in data["relation_name"].values],
    )
    found |= dict(zip(PLAIN, means, strict=True))
    tested = ~np.isnan(data["preference_blocked"].values).all((1, 2))
    some = data.isel(fact=np.flatnonzero(tested))
    clean, blocked, random = (
        some[name].values for name in ("preference", "preference_blocked", "preference_random")
    )
    measures = (clean, blocked - clean, random - clean)
    if tested.any():
        found |= _intervals(some, dict(zip(TESTED, measures, strict=True)))
    else:
        shape = tuple(data.sizes[name] for name in ("layer", "head"))
        edges = [name + edge for name in TESTED for edge in ("", "_low", "_high")]
        found |= dict.fromkeys(edges, np.full(shape, np.nan))
    found["size"] = class_rule.sizes(*(found[f"{n}_dla"] for n in ("subject", "relation", "other")))
    return found


def _intervals(data: xr.Dataset, measures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    three = subject_bands(
        np.stack(list(measures.values()), 1),
        [str(name) for name in data["subject"].values],
        [str(name) for name in data["relation_name"].values],
        n_boot=int(data.attrs["n_boot"]),
        seed=int(data.attrs["seed"]),
    )
    return {
        name + edge: values[index]
        for edge, values in zip(("", "_low", "_high"), three, strict=True)
        for index, name in enumerate(measures)
    }
