"""`MoverHeads`: heads that read the topic at END and write it there (P2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.results.base import Result
from factviz.results.factwise import FACT_COORDS, Dims, check
from factviz.results.shown import number, shown

DIRECTIONS = ("topic", "other topics", "answer", "other answers")
MEASURES = (
    "attention",
    "weighted",
    "write_topic",
    "write_other_topics",
    "topic_contrast",
    "write_answer",
    "write_other_answers",
    "answer_contrast",
    "answer_dla",
    "r_topic",
    "r_answer",
)
_GRID = ("layer", "head")
_BAND = ("sample", "measure", *_GRID)


def rule_in_words(written: str, min_attention: float, alpha: float, min_copying: float) -> str:
    """The decision rule, for provenance and figures."""
    copying = f"; copying score (read) at least {min_copying:g}" if min_copying else ""
    return (
        f"mover: attention to the topic at least {min_attention:g} (whole interval); Pearson's r of"
        f" attention with the write of the {written} above 0 (whole interval) and beyond chance at "
        f"{alpha:g}, corrected for the number of heads by the largest r of each shuffle; writes "
        f"more of its own {written} than of others' (whole interval){copying}; chosen on one half "
        "of the subjects, and holds on the other"
    )


class MoverHeads(Result):
    """Attention from END to the topic beside what each head writes of topic and answer.

    Parameters
    ----------
    dataset
        Variables of each fact: attention and weighted (attention × ‖v W_O‖) [fact, group, layer,
        head]; write [fact, direction, layer, head], logits times the final norm's scale;
        answer_dla [fact, layer, head], logits, P1, from the topic's tokens. Of each head: mean,
        low and high [sample, measure, layer, head], 95 %; p and p_corrected [sample, written,
        layer, head]; copying and copying_read [layer, head], each with _control; chosen and held
        [half, layer, head].
    provenance
        Model, weight hash, projection, the decision rule and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks one of them.
    """

    kind: ClassVar[str] = "MoverHeads"
    variables: ClassVar[Dims] = {
        "attention": ("fact", "group", *_GRID),
        "weighted": ("fact", "group", *_GRID),
        "write": ("fact", "direction", *_GRID),
        "answer_dla": ("fact", *_GRID),
        "mean": _BAND,
        "low": _BAND,
        "high": _BAND,
        "p": ("sample", "written", *_GRID),
        "p_corrected": ("sample", "written", *_GRID),
        "copying": _GRID,
        "copying_control": _GRID,
        "copying_read": _GRID,
        "copying_read_control": _GRID,
        "chosen": ("half", *_GRID),
        "held": ("half", *_GRID),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "topic": ("fact",),
        "topic_token": ("fact",),
        "group": ("group",),
        "direction": ("direction",),
        "sample": ("sample",),
        "measure": ("measure",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "table of mover heads", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def movers(self) -> list[tuple[int, int]]:
        """The (layer, head) of movers; empty where none was found."""
        found = self.dataset["held"].values.any(0)
        return [(int(layer), int(head)) for layer, head in zip(*np.nonzero(found), strict=True)]

    @property
    def written(self) -> str:
        """What a mover has to write by the rule that was asked for: "topic" or "answer"."""
        asked: Mapping[str, Any] = self.provenance.get("parameters") or {}
        return "answer" if asked.get("written") == "answer" else "topic"

    @property
    def correlation(self) -> xr.DataArray:
        """Pearson's r of attention to the topic with the write of `written` [layer, head]."""
        return self.dataset["mean"].sel(sample="all", measure=f"r_{self.written}", drop=True)

    def of(self, measure: str, *, sample: str = "all") -> xr.Dataset:
        """One of `MEASURES` with its interval: mean, low, high [layer, head].

        Parameters
        ----------
        measure : str
        sample : {"all", "first", "second"}
            All facts, or those of one half of the subjects.
        """
        three = self.dataset[["mean", "low", "high"]]
        return three.sel(sample=sample, measure=measure, drop=True)

    def groups(self) -> pd.DataFrame:
        """Where each head looks from END, mean over facts.

        Returns
        -------
        DataFrame
            layer, head, group, attention (fraction), weighted (attention × ‖v W_O‖),
            share (of the weighted sum).
        """
        data = self.dataset
        seen, long = (data[name].values.mean(0) for name in ("attention", "weighted"))
        total = long.sum(0, keepdims=True)
        share = np.divide(long, total, out=np.full(long.shape, np.nan), where=total > 0)
        group, layer, head = np.indices(seen.shape).reshape(3, -1)
        at = (group, layer, head)
        return pd.DataFrame(
            {
                "layer": layer,
                "head": head,
                "group": data["group"].values[group],
                "attention": seen[at],
                "weighted": long[at],
                "share": share[at],
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """One row for each head.

        Returns
        -------
        DataFrame
            component ("head"), layer, head, effect, low, high (what it writes of the topic, logits
            × final scale), control (the same of other topics), difference with _low and _high;
            attention, weighted, r_topic, write_answer, write_other_answers (R),
            answer_contrast (their difference), r_answer and
            answer_dla (P1, logits, from the topic's tokens), each with _low and _high; p,
            p_corrected (of r_topic), p_answer, p_answer_corrected; r_topic_first, r_topic_second
            (by half); copying, copying_control, copying_read, copying_read_control; directions (in
            how many of two it was chosen on one half and held on the other), mover.
        """
        data = self.dataset
        layer, head = np.indices(data["copying"].shape).reshape(2, -1)
        columns: dict[str, Any] = {"component": "head", "layer": layer, "head": head}
        effect = self.of("write_topic")
        for name, edge in (("effect", "mean"), ("low", "low"), ("high", "high")):
            columns[name] = effect[edge].values.ravel()
        columns["control"] = self.of("write_other_topics")["mean"].values.ravel()
        named = {"topic_contrast": "difference"} | {
            name: name
            for name in ("attention", "weighted", "r_topic", "write_answer", "write_other_answers",
                         "answer_contrast",
                         "r_answer", "answer_dla")
        }  # fmt: skip
        for measure, name in named.items():
            for edge in ("mean", "low", "high"):
                label = name if edge == "mean" else f"{name}_{edge}"
                columns[label] = self.of(measure)[edge].values.ravel()
        columns |= self._chances() | self._copying()
        directions = data["held"].values.sum(0).ravel()
        return pd.DataFrame(columns | {"directions": directions, "mover": directions > 0})

    def _chances(self) -> dict[str, np.ndarray]:
        data = self.dataset.sel(sample="all")
        found = {
            name + suffix: data[name[:1] + suffix].sel(written=written).values.ravel()
            for written, name in (("topic", "p"), ("answer", "p_answer"))
            for suffix in ("", "_corrected")
        }
        for half in ("first", "second"):
            found[f"r_topic_{half}"] = self.of("r_topic", sample=half)["mean"].values.ravel()
        return found

    def _copying(self) -> dict[str, np.ndarray]:
        names = ("copying", "copying_control", "copying_read", "copying_read_control")
        return {name: self.dataset[name].values.ravel() for name in names}

    def view(self, *, layer: int | None = None, head: int | None = None) -> MoverHeads:
        """The same result, with one head's prompts drawn (the first mover's without it).

        Raises
        ------
        FactvizError
            If there is no such head, or only one of the two is given.
        """
        if layer is None and head is None:
            return self._with_view()
        layers, heads = self.dataset["copying"].shape
        there = is_whole(layer) and is_whole(head) and 0 <= layer < layers and 0 <= head < heads
        if not there:
            raise FactvizError(
                f"no head (layer={layer!r}, head={head!r}): there are layers 0 to {layers - 1}, "
                f"heads 0 to {heads - 1}"
            )
        return self._with_view(layer=layer, head=head)

    def _summary(self) -> list[str]:
        frame: Any = self.to_frame()
        found = frame[frame["mover"]]
        rows = found if len(found) else frame
        rows = rows.sort_values(f"r_{self.written}", ascending=False, kind="stable")
        told = [
            f"L{row['layer']}H{row['head']} attention {number(row['attention'])}, r "
            f"{number(row[f'r_{self.written}'])}, copies {number(row['copying_read'])}"
            + (f" (in {row['directions']} of 2 directions)" if row["mover"] else "")
            for row in rows.head(5).to_dict("records")
        ]
        count = f"{len(found)} of {len(frame)} heads are movers" if len(found) else "no mover found"
        model = shown(str(self.provenance.get("model", "unknown model")), limit=60)
        return [
            f"Mover heads on {self.dataset.sizes['fact']} facts, {model}: {count}",
            f"{'movers' if len(found) else 'largest correlations'} (r with the write of the "
            f"{self.written}): " + "; ".join(told),
            *[shown(str(n), limit=300) for n in self.provenance.get("notes", [])
              if "undefined" in str(n)],
            str(self.provenance.get("projection", "projection not stated")),
        ]  # fmt: skip
