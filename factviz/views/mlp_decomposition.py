"""MLPs as linear maps of heads, as a figure: what each amplifies and erases, and how it fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.mlp_decomposition import REST, MLPDecomposition
from factviz.results.shown import number, token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

MAX_CHOICES = 12
TOP_BARS = 40


def _layer(build: FigureBuilder, result: MLPDecomposition, layer: int) -> Panel:
    """The heads of one layer with intervals, in words what its MLP does to them."""
    frame: Any = result.to_frame()
    rows = frame[(frame["layer"] == layer) & ~frame["g"].isna()]
    heads = rows[rows["term"] != REST]
    if len(heads) > TOP_BARS:
        kept = heads["g"].abs().sort_values(ascending=False, kind="stable").index[:TOP_BARS]
        build.note(f"The {TOP_BARS} heads with the largest |g| are drawn; .to_frame() has all.")
        rows = rows.loc[sorted([*kept, *rows.index[rows["term"] == REST]])]
    labels = [
        "the rest (c_r)" if row.term == REST else f"{row.term} {row.word}"
        for row in rows.itertuples()
    ]
    r2, shuffled = rows["r2"].iloc[0], rows["r2_control"].iloc[0]
    beside = "" if np.isnan(shuffled) else f" (heads shuffled {number(float(shuffled))})"
    return build.bars(
        labels,
        rows["g"].to_numpy(np.float32),
        title=f"MLP {layer}: g of each head it reads; held-out R² {number(float(r2))}{beside}",
        unit="g (−1 erases)",
        low=rows["low"].to_numpy(np.float32),
        high=rows["high"].to_numpy(np.float32),
        keys=[{"layer": layer, "term": str(term)} for term in rows["term"]],
    )


def _matrix(build: FigureBuilder, result: MLPDecomposition) -> Panel:
    """All heads of all layers; layers whose fit says nothing are left blank."""
    data = result.dataset
    every = data["layer"].values.tolist()
    if len(every) > common.MAX_LAYERS:
        build.note(f"{common.MAX_LAYERS} of {len(every)} layers are in the matrix; .g holds all.")
    shown = common.picked_layers(len(every))
    values = np.where(result.fits.values[:, None], result.g.values, np.nan)[shown]
    if np.isnan(values).any():
        build.note("Blank rows: R² not above .01, or not above that with heads shuffled.")
    return build.matrix(
        values[None],
        title="g of every head, in the MLP that reads it",
        rows={
            "title": "layer",
            "labels": [f"m{every[i]}" for i in shown],
            "keys": [{"layer": every[i]} for i in shown],
        },
        columns={
            "title": "head",
            "labels": [str(name) for name in data["term"].values[:-1]],
            "groups": [],
        },
        unit="g",
        order="layer",
        top=None,
        totals=False,
    )


def _fit(build: FigureBuilder, result: MLPDecomposition) -> Panel:
    """R² over layers, beside that of shuffled heads."""
    data = result.dataset
    folds, shuffles = data["r2"].values, data["control_r2"].values
    series: list[dict[str, Any]] = [
        {"label": "held out (band: folds)", "values": folds.mean(1), "low": folds.min(1),
         "high": folds.max(1)},
    ]  # fmt: skip
    if not np.isnan(shuffles).any():
        low, high = np.quantile(shuffles, [0.025, 0.975], axis=1)
        label = "heads shuffled over prompts"
        series.append({"label": label, "values": shuffles.mean(1), "low": low, "high": high})
    series.append({"label": "against zero", "values": data["r2_zero"].values.mean(1)})
    return build.lines(
        data["layer"].values,
        series,
        title="Share of the MLP's output that heads give, on subjects not fitted",
        x_title="layer",
        unit="R²",
    )


def _descent(build: FigureBuilder, result: MLPDecomposition) -> Panel:
    """How far the descent still was from the exact solution."""
    excess = np.maximum(result.dataset["excess"].values, 1e-16)
    series = [
        {"label": f"m{layer}", "values": np.log10(one)}
        for layer, one in zip(result.dataset["layer"].values, excess, strict=True)
    ]
    return build.lines(
        np.arange(1, excess.shape[1] + 1) / excess.shape[1],
        series[:MAX_CHOICES],
        title="SGD: R² (in-sample) still missing to the exact solution",
        x_title="share of the steps",
        unit="log10 of R²",
    )


def _pointing(build: FigureBuilder, result: MLPDecomposition, layer: int) -> list[Panel]:
    """Where one layer's intercept points, among directions and tokens."""
    frame: Any = result.geometry()
    rows = frame[(frame["layer"] == layer) & (frame["vector"] == "b") & ~frame["cosine"].isna()]
    one = result.dataset.isel(layer=result.layer_index(layer))
    edges = {name: rows[name].to_numpy(np.float32) for name in ("low", "high")}
    cosines = build.bars(
        [str(name) for name in rows["direction"]],
        rows["cosine"].to_numpy(np.float32),
        title=f"Intercept of MLP {layer}: cosine with the directions of X and Y, and controls",
        unit="cosine",
        **edges if not any(np.isnan(edge).any() for edge in edges.values()) else {},
    )
    tops = build.bars(
        [token_text(str(text), 30) for text in one["top_token"].values],
        one["top"].values,
        title=f"Tokens that it points to most (MLP {layer})",
        unit="product",
    )
    return [cosines, tops]


def _vectors(build: FigureBuilder, result: MLPDecomposition) -> Panel:
    """Y − X and its shuffled pairs over layers, for each vector."""
    frame: Any = result.geometry()
    series: list[dict[str, Any]] = []
    for vector in ("b", "m", "r_mid", "r_post"):
        for direction in ("Y − X", "shuffled Y − X"):
            rows = frame[(frame["vector"] == vector) & (frame["direction"] == direction)]
            if rows["cosine"].isna().all() or (vector != "b" and direction != "Y − X"):
                continue
            made: dict[str, Any] = {"label": f"{vector}: {direction}",
                                    "values": rows["cosine"].to_numpy()}  # fmt: skip
            if not rows["low"].isna().any():
                made |= {name: rows[name].to_numpy() for name in ("low", "high")}
            series.append(made)
    return build.lines(
        result.dataset["layer"].values,
        series,
        title="Cosine with W_U[Y] − W_U[X]",
        x_title="layer",
        unit="cosine",
    )


def _shared(build: FigureBuilder, result: MLPDecomposition, show: str) -> list[Panel]:
    """What stands under every layer's own panels."""
    if result.dataset.sizes["layer"] < 2:
        return []
    if show == "intercept":
        return [_vectors(build, result)]
    found = [_matrix(build, result), _fit(build, result)]
    return [*found, _descent(build, result)] if "excess" in result.dataset else found


def build(result: MLPDecomposition) -> Figure:
    """The figure of a decomposition; its layers are a choice, the best fitted first."""
    provenance, data = result.provenance, result.dataset
    show = str(result.view_options.get("show", "coefficients"))
    chosen = result.view_options.get("layer")
    order = np.argsort(-result.r2.values, kind="stable")[:MAX_CHOICES]
    layers = [int(data["layer"].values[i]) for i in order] if chosen is None else [int(chosen)]
    what = "MLPs as linear maps of heads" if show == "coefficients" else "Intercepts of MLPs"
    first = "g > 0 amplifies, about −1 erases; R² centred, on subjects not fitted"
    if show == "intercept":
        first = "cosines: relations alike"
    if chosen is not None:
        first = f"{result.said_of(int(chosen))}; {first}"
    builder = FigureBuilder(
        f"{what}: {data.sizes['fact']} prompts",
        f"{provenance.get('model')} · {provenance.get('solver')}",
        common.caption(provenance, f"{first}; 95 % intervals: bootstrap by subject"),
    )
    for layer in layers[:3] if chosen is None else ():
        builder.note(f"MLP {layer}: {result.said_of(layer)}")
    builder.note(f"control: {provenance.get('control')}", *map(str, provenance.get("notes", [])))
    if chosen is None and len(layers) < data.sizes["layer"]:
        builder.note(f"{len(layers)} of {data.sizes['layer']} layers are a choice; "
                     ".view(layer=…) draws any.")  # fmt: skip
    shared = _shared(builder, result, show)
    pages = [
        [*(_pointing(builder, result, n) if show == "intercept" else [_layer(builder, result, n)]),
         *shared]
        for n in layers
    ]  # fmt: skip
    if len(pages) == 1:
        return builder.figure(pages)
    options = [f"MLP {layer}" for layer in layers]
    return builder.figure(pages, {"label": "layer", "options": options})
