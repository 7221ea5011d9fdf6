"""`Misfires`: what subject heads extract on prompts that ask for something else."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

_TABLE = ("fact", "attribute_relation")


class Misfires(FactResult):
    """What heads add, from subject tokens, to the subject's attributes of every relation.

    Variables [fact, attribute_relation], logits: own, to the subject's own attribute of a relation;
    control, to the mean of other subjects' attributes of that relation. NaN where the facts do not
    say the subject's attribute.
    """

    kind: ClassVar[str] = "Misfires"
    what: ClassVar[str] = "table of misfires"
    variables: ClassVar[Dims] = {"own": _TABLE, "control": _TABLE}
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "attribute_relation": ("attribute_relation",),
        "word": _TABLE,
    }

    @property
    def heads(self) -> list[str]:
        """The heads that were read together."""
        return [str(name) for name in self.provenance.get("heads", [])]

    def table(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """One row for each pair of a prompt's relation and an attribute's.

        Returns
        -------
        DataFrame
            relation (of the prompt), attribute_relation, asked (whether they are the same), own,
            control, lift (own − control, with low and high, 95 %, subjects resampled), logits,
            facts.
        """
        data = self.dataset
        own, control = data["own"].values, data["control"].values
        relations = np.array([str(name) for name in data["relation"].values])
        subjects = np.array([str(name) for name in data["subject"].values])
        rows: list[dict[str, Any]] = []
        for relation in sorted(set(relations)):
            for column, other in enumerate(map(str, data["attribute_relation"].values)):
                there = (relations == relation) & ~np.isnan(own[:, column])
                there &= ~np.isnan(control[:, column])
                if not there.any():
                    continue
                pair = np.stack([own[there, column], control[there, column]], 1)
                table = np.concatenate([pair, pair[:, :1] - pair[:, 1:]], 1)
                mean, low, high = subject_bands(
                    table, subjects[there].tolist(), [relation] * len(table),
                    n_boot=n_boot, seed=seed,
                )  # fmt: skip
                rows.append(
                    {
                        "relation": relation,
                        "attribute_relation": other,
                        "asked": relation == other,
                        "own": mean[0],
                        "control": mean[1],
                        "lift": mean[2],
                        "low": low[2],
                        "high": high[2],
                        "facts": int(there.sum()),
                    }
                )
        return pd.DataFrame(rows)

    def rates(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """The lift where the prompt asks for the attribute, and where it does not (misfire).

        Returns
        -------
        DataFrame
            asked (bool), lift, low, high (logits, 95 %, bootstrap by subject, relations of prompts
            macro-averaged), positive (share of facts with a lift above 0).
        """
        data = self.dataset
        lift = data["own"].values - data["control"].values
        asked = data["relation"].values[:, None] == data["attribute_relation"].values[None]
        subjects = [str(name) for name in data["subject"].values]
        relations = [str(name) for name in data["relation"].values]
        rows: list[dict[str, Any]] = []
        for kind in (True, False):
            there = (asked == kind) & ~np.isnan(lift)
            count = there.sum(1)
            total = np.where(there, lift, 0).sum(1)
            means = np.divide(total, count, out=np.full(len(lift), np.nan), where=count > 0)
            mean, low, high = subject_bands(
                means[:, None], subjects, relations, n_boot=n_boot, seed=seed
            )
            known = means[~np.isnan(means)]
            rows.append(
                {
                    "asked": kind,
                    "lift": mean[0],
                    "low": low[0],
                    "high": high[0],
                    "positive": float((known > 0).mean()) if len(known) else np.nan,
                }
            )
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact and relation whose attribute of the subject is known.

        Returns
        -------
        DataFrame
            fact, relation (of the prompt), attribute_relation, attribute, asked, own, control, lift
            (logits), subject.
        """
        data = self.dataset
        fact, column = np.nonzero(~np.isnan(data["own"].values))
        own, control = (data[n].values[fact, column] for n in ("own", "control"))
        relation = data["relation"].values[fact]
        other = data["attribute_relation"].values[column]
        return pd.DataFrame(
            {
                "fact": fact,
                "relation": relation,
                "attribute_relation": other,
                "attribute": data["word"].values[fact, column],
                "asked": relation == other,
                "own": own,
                "control": control,
                "lift": own - control,
                "subject": data["subject"].values[fact],
            }
        )

    def matrix(self) -> xr.DataArray:
        """The lift by the prompt's and the attribute's relation [relation, attribute_relation]."""
        table: Any = self.table(n_boot=2)
        relations = sorted({str(name) for name in self.dataset["relation"].values})
        columns = [str(name) for name in self.dataset["attribute_relation"].values]
        found = np.full((len(relations), len(columns)), np.nan)
        for row in table.to_dict("records"):
            at = relations.index(row["relation"]), columns.index(row["attribute_relation"])
            found[at] = row["lift"]
        dims = ("relation", "attribute_relation")
        return xr.DataArray(found, dims=dims, coords=dict(zip(dims, (relations, columns),
                                                              strict=True)))  # fmt: skip

    def _summary(self) -> list[str]:
        rates: Any = self.rates()
        lines = [
            f"{'asked for' if row['asked'] else 'not asked for (misfire)'}: "
            f"{number(row['lift'], sign=True)} [{number(row['low'])}, {number(row['high'])}] logits"
            f" over other subjects' attributes, above 0 in {number(100 * row['positive'], 0)} %"
            for row in rates.to_dict("records")
        ]
        return [
            f"Misfires of {len(self.heads)} heads on {self.dataset.sizes['fact']} facts, "
            f"{self._model()}",
            *lines,
            "heads: " + ", ".join(self.heads[:12]),
            self._projection(),
        ]
