"""`RecallFlow`: enrichment, propagation and extraction of facts on one layer axis."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.shown import number, shown, token_text

_GROUPS = ("fact", "group", "layer")
_UPDATES = ("fact", "sublayer", "layer")


class RecallFlow(FactResult):
    """What happens where: at the subject's last token, on the way to END, and at END.

    Layer l of enrichment is the state that block l leaves; of propagation, the middle of the window
    of blocked layers; of extraction, the update that block l adds at END. For one `Fact` the
    accessors have no fact dimension.
    """

    kind: ClassVar[str] = "RecallFlow"
    what: ClassVar[str] = "flow of recall"
    variables: ClassVar[Dims] = {
        "recall": ("fact", "layer"),
        "recall_shuffled": ("fact", "layer"),
        "change": _GROUPS,
        "control": _GROUPS,
        "event": _UPDATES,
        "rank": _UPDATES,
        "subject_rank": ("fact", "layer"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "target_token": ("fact",),
        "group": ("group",),
        "sublayer": ("sublayer",),
        "layer": ("layer",),
        "token": _UPDATES,
    }

    @property
    def enrichment(self) -> xr.DataArray:
        """Share of the subject's attributes among its last token's top tokens [layer]."""
        return self._squeezed(self.dataset["recall"])

    @property
    def propagation(self) -> xr.DataArray:
        """Change of the target's probability with END's view blocked [group, layer], percent."""
        return self._squeezed(self.dataset["change"])

    @property
    def extraction(self) -> xr.DataArray:
        """Whether an update at END has the target on top [sublayer, layer]."""
        return self._squeezed(self.dataset["event"])

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, step, part and layer.

        Returns
        -------
        DataFrame
            fact, step ("enrichment", "propagation", "extraction"), part ("attributes",
            "shuffled subject", "rank of the target"; a group, or "random: …"; "attention", "mlp"),
            layer, value (a fraction; a rank; percent; the target's rank), event (of extraction).
        """
        data = self.dataset
        parts: list[pd.DataFrame] = []
        for step, part, array in self._series():
            fact, layer = (i.ravel() for i in np.indices(array.shape))
            columns: dict[str, Any] = {
                "fact": fact,
                "step": step,
                "part": part,
                "layer": data["layer"].values[layer],
                "value": array.astype(float).ravel(),
                "event": False,
            }
            if step == "extraction":
                columns["event"] = array.ravel() == 1
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def _series(self) -> list[tuple[str, str, np.ndarray]]:
        data = self.dataset
        found = [
            ("enrichment", "attributes", data["recall"].values),
            ("enrichment", "shuffled subject", data["recall_shuffled"].values),
            ("enrichment", "rank of the target", data["subject_rank"].values),
        ]
        for prefix, name in (("", "change"), ("random: ", "control")):
            for index, group in enumerate(data["group"].values):
                found.append(("propagation", f"{prefix}{group}", data[name].values[:, index]))
        for index, sublayer in enumerate(data["sublayer"].values):
            found.append(("extraction", str(sublayer), data["rank"].values[:, index]))
        return found

    def _summary(self) -> list[str]:
        one = self.dataset.isel(fact=0)
        more = self.dataset.sizes["fact"] - 1
        prompt = shown(str(one["prompt"].item()), limit=200)
        token = token_text(str(one["target_token"].item()), 40)
        lines = [f"Recall of {token} after {prompt!r} on {self._model()}"
                 + (f" (and {more} more)" if more else "")]  # fmt: skip
        if not np.isnan(one["recall"]).all():
            best = int(np.nanargmax(one["recall"].values))
            share = number(100 * float(one["recall"].values[best]), 0)
            lines.append(f"enrichment: {share} % of the subject's attributes behind L{best}")
        for index, group in enumerate(one["group"].values[:4]):
            change = one["change"].values[index]
            if np.isnan(change).all():
                continue
            worst = int(np.nanargmax(np.abs(change)))
            name = shown(str(group).replace("_", " "), limit=40)
            lines.append(f"propagation: without {name} around L{worst} "
                         f"{number(float(change[worst]), 1, sign=True)} %")  # fmt: skip
        where = [
            f"{kind} " + (", ".join(f"L{i}" for i in np.flatnonzero(event)) or "nowhere")
            for kind, event in zip(one["sublayer"].values, one["event"].values, strict=True)
        ]
        return [*lines, "extraction: " + "; ".join(where), self._projection()]
