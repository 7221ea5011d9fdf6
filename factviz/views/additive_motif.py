"""An additive motif as a figure: the parts down to their sum, and each part alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.additive_motif import AdditiveMotif
from factviz.results.shown import number
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

_ROLES = ("contribution", "same_subject", "same_relation")


def _edges(table: Any, name: str) -> dict[str, Any]:
    low, high = (table[f"{name}_{edge}"].to_numpy(np.float64) for edge in ("low", "high"))
    return {} if np.isnan(low).all() else {"low": low, "high": high}


def _waterfall(build: FigureBuilder, table: Any) -> Panel:
    labels = [*table["part"][:-1], "= centred logit of the answer"]
    return build.bars(
        labels,
        table["contribution"].to_numpy(np.float32),
        title="Where the logit of the answer comes from",
        total=True,
        **_edges(table, "contribution"),
    )


def _against(build: FigureBuilder, table: Any) -> Panel:
    """The answer beside its strongest rivals of S and R, part by part."""
    values = np.stack([table[name].to_numpy(np.float32) for name in _ROLES], 1)
    labels = [str(name) for name in table["part"]]
    return build.matrix(
        values[None],
        title="The answer beside the strongest of S and of R",
        rows={"title": "part", "labels": labels, "keys": [{"part": name} for name in labels]},
        columns={
            "title": "attribute",
            "labels": ["answer", "best of S", "best of R"],
            "groups": [],
        },
        order="layer",
        top=None,
        totals=False,
    )


def _share(build: FigureBuilder, table: Any, name: str, title: str) -> Panel:
    known = table[~table[name].isna()]
    return build.bars(
        [str(part) for part in known["part"]],
        100 * known[name].to_numpy(np.float64),
        title=title,
        unit="% of facts",
        **{edge: 100 * values for edge, values in _edges(known, name).items()},
    )


def _ranks(build: FigureBuilder, table: Any) -> Panel:
    return build.bars(
        [str(part) for part in table["part"]],
        table["median_rank"].to_numpy(np.float64),
        title="Rank of the answer in the vocabulary, each part alone (1 is the top)",
        unit="rank",
    )


def build(result: AdditiveMotif) -> Figure:
    """The figure of an additive motif: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = AdditiveMotif(result.dataset.isel(fact=[fact]), result.provenance)
    table: Any = shown.table()
    provenance = result.provenance
    builder = FigureBuilder(
        common.title(result, "Summing up"),
        f"{provenance.get('model')} · centred logit "
        f"{number(float(table['contribution'].iloc[-1]), sign=True)} = sum of "
        f"{len(shown.parts)} parts, worst error {result.residual_error:.1g}",
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    panels = [_waterfall(builder, table), _against(builder, table)]
    if shown.dataset.sizes["fact"] > 1:
        panels += [
            _share(builder, table, "top1", "The answer is on top of the vocabulary, part alone"),
            _share(builder, table, "in_own_set", "The part's top token is in its own set"),
            _share(builder, table, "left_out_top1", "The answer is on top, part left out"),
        ]
        builder.note(*_places(table))
    else:
        panels.append(_ranks(builder, table))
        tops = zip(shown.parts, shown.dataset["top_token"].values[0], strict=True)
        builder.note("top tokens alone: " + ", ".join(f"{part}: {token}" for part, token in tops))
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])


def _places(table: Any) -> list[str]:
    """How each part of heads stands among random ones of its size."""
    known = table[~table["place"].isna()].to_dict("records")
    told = [
        f"{row['part']} {number(100 * row['place'], 0)} % (their mean "
        f"{number(row['random'], sign=True)})"
        for row in known
    ]
    return (
        ["share of random parts of the same size that give the answer less: " + ", ".join(told)]
        if told
        else []
    )
