"""An attribution as a figure: heads × source tokens, and where the logit comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.results.attribution import Attribution
from factviz.results.grouping import DEFAULT_GROUPS, ordered
from factviz.results.shown import number, token_text
from factviz.views.spec import Figure, FigureBuilder, Panel

MAX_FACTS = 12
MAX_PAGES = 24
# Numbers in one figure: 4 MB of JSON in a notebook is what it takes to be slow.
MAX_VALUES = 750_000
MAX_LAYERS = 12
TOP_HEADS = 20

_ROLE_TEXT = {
    "same_subject": "same subject",
    "same_relation": "same relation",
    "both": "same subject and relation",
}


def _length(fact: xr.Dataset) -> int:
    return int((fact["group"].values != "").sum())


def _pages(fact: xr.Dataset) -> list[int]:
    return [int(i) for i in np.flatnonzero(fact["role"].values != "")]


def attribute_label(fact: xr.Dataset, page: int) -> str:
    """An attribute by its word and role."""
    role = str(fact["role"].values[page])
    return f"{_short(str(fact['attribute_word'].values[page]))} ({_ROLE_TEXT.get(role, role)})"


def _columns(fact: xr.Dataset, length: int) -> dict[str, Any]:
    names = [str(name) for name in fact["group"].values[:length]]
    groups = [
        {"name": name, "positions": [i for i, other in enumerate(names) if other == name]}
        for name in ordered(names, DEFAULT_GROUPS)
    ]
    labels = [str(text) for text in fact["token"].values[:length]]
    return {"title": "source token", "labels": labels, "groups": groups}


def _heatmap(
    build: FigureBuilder, fact: xr.Dataset, pages: list[int], title: str, options: dict[str, Any]
) -> Panel:
    length = _length(fact)
    heads = fact["heads"].values[pages][..., :length]  # [page, layer, head, source]
    keys = [
        {"layer": int(layer), "head": int(head)}
        for layer in fact["layer"].values
        for head in fact["head"].values
    ]
    top = options.get("top", TOP_HEADS)
    return build.matrix(
        heads.reshape(len(pages), -1, length),
        title=title,
        pages={"label": "attribute", "options": [attribute_label(fact, p) for p in pages]},
        rows={
            "title": "head",
            "labels": [f"L{k['layer']}H{k['head']}" for k in keys],
            "keys": keys,
        },
        columns=_columns(fact, length),
        order=options.get("order", "contribution"),
        top=None if top == 0 or top >= len(keys) else top,
        limit=options.get("limit"),
    )


def _breakdown(build: FigureBuilder, fact: xr.Dataset, page: int) -> Panel:
    """The parts of one attribute's logit, down to their total."""
    length = _length(fact)
    by_source = np.nansum(fact["heads"].values[page], axis=(0, 1))[:length]
    names = [str(name) for name in fact["group"].values[:length]]
    parts = [
        (
            f"heads, from {name}",
            float(sum(v for v, n in zip(by_source, names, strict=True) if n == name)),
        )
        for name in ordered(names, DEFAULT_GROUPS)
    ]
    mlps = fact["mlps"].values[page]
    if len(mlps) <= MAX_LAYERS:
        parts += [
            (f"MLP {layer}", float(v)) for layer, v in zip(fact["layer"].values, mlps, strict=True)
        ]
    else:
        parts.append((f"{len(mlps)} MLPs", float(mlps.sum())))
    parts += [(name, float(fact[name].values[page])) for name in ("embedding", "bias")]
    parts.append(("= centred logit", sum(value for _, value in parts)))
    return build.bars(
        [label for label, _ in parts],
        np.array([value for _, value in parts], dtype=np.float32),
        title=f"Where the logit comes from: {attribute_label(fact, page)}",
        total=True,
    )


def _chosen_pages(fact: xr.Dataset, options: dict[str, Any]) -> list[int]:
    """The attributes to show: all that are there, or the one asked for."""
    pages = _pages(fact)
    wanted = options.get("attribute")
    if wanted is None:
        return pages
    words = fact["attribute_word"].values
    found = [p for p in pages if p == wanted or words[p] == wanted]
    return found or pages[:1]


def _page_limit(result: Attribution, facts: list[int]) -> int:
    sizes = result.dataset.sizes
    page = sizes["layer"] * sizes["head"] * sizes["source"]
    return max(1, min(MAX_PAGES, MAX_VALUES // (page * len(facts))))


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _fact_title(fact: xr.Dataset, options: dict[str, Any]) -> str:
    """The prompt and the first attribute that is shown, which need not be the answer."""
    word = fact["attribute_word"].values[_chosen_pages(fact, options)[0]]
    return f"{_short(str(fact['prompt'].item()), 240)} → {_short(str(word))}"


def _target(fact: xr.Dataset, page: int) -> str:
    """The token whose logit it is; a contrast is no token, and is told in its own words."""
    if fact["role"].values[page] == "contrast":
        return _short(str(fact["attribute_word"].values[page]))
    return token_text(str(fact["attribute_token"].values[page]), 40)


def _sentence(result: Attribution, fact: xr.Dataset, page: int) -> str:
    logit = number(float(fact["logits"].values[page]))
    worst = f"{float(fact['residual']):.1g}"
    model = result.provenance.get("model", "unknown model")
    said = f"centred logit of {_target(fact, page)} {logit} = sum of the parts"
    return f"{model} · {said}, worst error {worst}"


def _caption(provenance: dict[str, Any]) -> str:
    said = [
        "Contributions in logits",
        str(provenance.get("projection", "")),
        f"value bias in the {'bias' if provenance.get('value_bias') == 'out' else 'heads'} part",
        str(provenance.get("target", "")),
        f"weights {str(provenance.get('weight_hash', ''))[:12]}",
        f"factviz {provenance.get('factviz', '')}",
    ]
    return "; ".join(part for part in said if part) + "."


def _attribute_notes(fact: xr.Dataset, pages: list[int]) -> list[str]:
    notes = fact["attribute_note"].values
    return [f"{fact['attribute_word'].values[p]}: {notes[p]}" for p in pages if notes[p]]


def _title(result: Attribution, facts: list[int]) -> str:
    total = result.dataset.sizes["fact"]
    if len(facts) == 1:
        return _fact_title(result.dataset.isel(fact=facts[0]), result.view_options)
    return f"{len(facts)} facts" if len(facts) == total else f"{len(facts)} of {total} facts"


def build(result: Attribution) -> Figure:
    """The figure of an attribution, as its ``view_options`` want it.

    Several facts become a choice (the first 12), several attributes pages (the first 24, fewer for
    large models); what is left out is said in the notes.
    """
    options, data = result.view_options, result.dataset
    total = data.sizes["fact"]
    facts = [options["fact"]] if "fact" in options else list(range(min(total, MAX_FACTS)))
    one = data.isel(fact=facts[0])
    subtitle = (
        _sentence(result, one, _chosen_pages(one, options)[0])
        if len(facts) == 1
        else f"{result.provenance.get('model')} · worst error {result.residual_error:.1g} logits"
    )
    builder = FigureBuilder(_title(result, facts), subtitle, _caption(result.provenance))
    panels: list[list[Panel]] = []
    for index in facts:
        fact = data.isel(fact=index)
        every = _chosen_pages(fact, options)
        pages = every[: _page_limit(result, facts)]
        title = (
            "Heads × source tokens" if len(facts) == 1 else _short(str(fact["prompt"].item()), 240)
        )
        panels.append(
            [_heatmap(builder, fact, pages, title, options), _breakdown(builder, fact, pages[0])]
        )
        builder.note(*_attribute_notes(fact, pages))
        if len(pages) < len(every):
            builder.note(f"{len(pages)} of {len(every)} attributes are drawn; .heads holds all.")
    builder.note(*map(str, result.provenance.get("notes", [])))
    if len(facts) == 1:
        return builder.figure(panels)
    if len(facts) < total:
        builder.note(f"{len(facts)} of {total} facts are drawn; .view(fact=…) draws any.")
    labels = [_short(_fact_title(data.isel(fact=index), options)) for index in facts]
    return builder.figure(panels, {"label": "fact", "options": labels})
