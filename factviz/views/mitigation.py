"""A mitigation as a figure: reliability diagram, the methods' table, and the curve over gains."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.mitigation import MEASURES, METHODS, Mitigation
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

NAMES = {
    "accuracy": "accuracy",
    "probability": "P(answer)",
    "ece": "ECE",
    "brier": "Brier",
    "nll": "NLL",
}


def _bins(result: Mitigation) -> dict[str, Any]:
    """The reliability table of each method that was run."""
    found = {method: result.reliability(method) for method in METHODS}
    return {method: table for method, table in found.items() if len(table)}


def _diagram(build: FigureBuilder, bins: dict[str, Any]) -> Panel:
    labels: list[str] = []
    classes: list[str | None] = []
    pairs: list[tuple[float, float]] = []
    for method, table in bins.items():
        for row in table.to_dict("records"):
            labels.append(f"{method[0]}{row['bin']}")
            classes.append(method)
            pairs.append((row["confidence"], row["accuracy"]))
    x, y = np.array(pairs).T
    return build.points(
        {"title": "confidence: P of the top token", "unit": "mean of a bin", "values": x},
        {"title": "accuracy", "unit": "share right", "values": y},
        labels,
        title="Reliability by bin: calibrated where accuracy is confidence",
        classes=classes,
    )


def _gaps(build: FigureBuilder, bins: dict[str, Any]) -> Panel:
    most = max(len(table) for table in bins.values())
    series: list[dict[str, Any]] = []
    for method, table in bins.items():
        values = np.full(most, np.nan)
        values[: len(table)] = (table["accuracy"] - table["confidence"]).to_numpy()
        series.append({"label": method, "values": values})
    return build.lines(
        np.arange(1, most + 1),
        series,
        title="Accuracy − confidence by bin: above 0 the model is too unsure, below too sure",
        x_title="bin of equal mass, least confident first",
        unit="fraction",
    )


def _table(build: FigureBuilder, table: Any) -> Panel:
    methods = list(dict.fromkeys(table["method"]))
    wide = table.pivot_table(index="method", columns="measure", values="value", sort=False)
    return build.matrix(
        wide.loc[methods, list(MEASURES)].to_numpy()[None],
        title="On the judging half",
        unit="fraction, NLL in nats",
        rows={"title": "method", "labels": methods, "keys": [{"method": m} for m in methods]},
        columns={"title": "measure", "labels": [NAMES[m] for m in MEASURES], "groups": []},
        order="layer",
        top=None,
        totals=False,
    )


def _places(measures: Any) -> Any:
    return measures.map(list(MEASURES).index)


def _changes(build: FigureBuilder, table: Any) -> Panel:
    changed = table[table["method"] != "unmitigated"]
    rows = changed.sort_values("measure", key=_places, kind="stable").to_dict("records")
    labels = [
        NAMES[row["measure"]] if row["method"] == "mitigated" else f"↳ {row['method']}"
        for row in rows
    ]
    low, high = (np.array([row[f"change_{edge}"] for row in rows]) for edge in ("low", "high"))
    edges: Any = {} if np.isnan(low).all() else {"low": low, "high": high}
    return build.bars(
        labels,
        np.array([row["change"] for row in rows]),
        title="Change from the unmitigated model: mitigated, and the others",
        unit="fraction, NLL in nats",
        **edges,
    )


def _curve(build: FigureBuilder, result: Mitigation) -> Panel | None:
    """The criterion over the gains that were tried."""
    halves = {half: result.curve(result.criterion, half=half) for half in ("choosing", "judging")}
    gains = halves["choosing"]["gain"].to_numpy()
    if len(gains) < 2:
        return None
    series = [
        {"label": f"{half} half", "values": table["value"].to_numpy()}
        for half, table in halves.items()
    ]
    control = halves["judging"]["control"].to_numpy()
    if np.isfinite(control).sum() > 1:
        series.append({"label": "random parts, judging half", "values": control})
    return build.lines(
        gains,
        series,
        title=f"{NAMES[result.criterion]} by gain",
        x_title="gain",
        unit="nats" if result.criterion == "nll" else "",
    )


def build(result: Mitigation) -> Figure:
    """The figure of a mitigation, on the judging half."""
    provenance, data = result.provenance, result.dataset
    judging = int((data["half"].values == "judging").sum())
    builder = FigureBuilder(
        f"Mitigation: {judging} facts judged, {data.sizes['fact'] - judging} chosen on",
        f"{provenance.get('model')} · {result.verdict} · temperature {result.temperature:.3g}",
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    bins, table = _bins(result), result.table()
    panels = [
        _diagram(builder, bins),
        _gaps(builder, bins),
        _table(builder, table),
        _changes(builder, table),
        _curve(builder, result),
    ]
    builder.note(f"ECE: {provenance.get('ece')}", f"Brier: {provenance.get('brier')}")
    builder.note(f"control: {provenance.get('control')}")
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([[panel for panel in panels if panel is not None]])
