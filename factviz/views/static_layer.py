"""A whole figure without scripts: tables where they do, images for the other marks."""

from __future__ import annotations

import base64
from typing import Any

from factviz.views import markup
from factviz.views.matrix_layout import first_panels
from factviz.views.spec import Figure, Panel
from factviz.views.static_table import bars_table, matrix_table

MOST_NOTES = 40


def _image(figure: Figure, panel: Panel) -> str:
    # Its own white ground: an image cannot know the notebook's theme.
    from factviz.views.painters.files import panel_svg

    packed = base64.b64encode(panel_svg(figure, panel)).decode("ascii")
    alt = markup.attribute(f"{panel['mark']}: {panel['title']}"[:300])
    return f'<p><img alt="{alt}" src="data:image/svg+xml;base64,{packed}"></p>'


_PAINTERS = {"matrix": matrix_table, "bars": bars_table, "lines": _image, "points": _image}


def _paragraphs(spec: dict[str, Any]) -> str:
    notes = spec["notes"]
    lines = [spec["caption"], *notes[:MOST_NOTES]]
    if len(notes) > MOST_NOTES:
        lines.append(f"{len(notes) - MOST_NOTES} more notes are in .provenance.")
    return "".join(
        f'<div style="font-size:11px">{markup.plain(line, 600)}</div>' for line in lines if line
    )


def _chosen(spec: dict[str, Any]) -> str:
    choose = spec["choose"]
    if not choose:
        return ""
    word, options = choose["label"], choose["options"]
    return f"<div>{markup.plain(word)} 1 of {len(options)}: {markup.plain(options[0], 200)}</div>"


def static_layer(figure: Figure) -> str:
    """The figure as HTML that needs no script and survives JupyterLab's sanitiser."""
    spec = figure.spec
    title = f'<div style="font-weight:bold">{markup.plain(spec["title"], 300)}</div>'
    subtitle = f"<div>{markup.plain(spec['subtitle'], 300)}</div>" if spec["subtitle"] else ""
    panels = "".join(
        f'<div style="overflow-x:auto">{_PAINTERS[panel["mark"]](figure, panel)}</div>'
        for panel in first_panels(spec)
    )
    return title + subtitle + _chosen(spec) + panels + _paragraphs(spec)
