"""A head's vocabulary map as a figure: for each token, the tokens it is mapped to."""

from __future__ import annotations

import numpy as np

from factviz.results.head_vocabulary import HeadVocabulary
from factviz.results.shown import token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

MAX_TOKENS = 40


def build(result: HeadVocabulary) -> Figure:
    """The figure of a head's map; several tokens become a choice (the first 40)."""
    data, provenance = result.dataset, result.provenance
    total = data.sizes["token"]
    names = [token_text(str(text), 40) for text in data["token_text"].values[:MAX_TOKENS]]
    builder = FigureBuilder(
        f"What L{result.layer}H{result.head} maps tokens to",
        f"{provenance.get('model')} · {provenance.get('target')}",
        common.caption(provenance, "From the weights alone"),
    )
    panels: list[list[Panel]] = []
    for row, name in enumerate(names):
        labels = [token_text(str(text), 40) for text in data["mapped"].values[row]]
        bars = builder.bars(
            labels,
            data["score"].values[row].astype(np.float32),
            title=f"{name} is mapped to",
            unit="raw projection",
            keys=[{"rank": rank + 1} for rank in range(len(labels))],
        )
        panels.append([bars])
    builder.note(*map(str, provenance.get("notes", [])))
    if total > len(names):
        builder.note(f"{len(names)} of {total} tokens are drawn; .to_frame() holds all.")
    if len(names) == 1:
        return builder.figure(panels)
    return builder.figure(panels, {"label": "token", "options": names})
