"""Figures as HTML: a fragment for a notebook's output, a page for a file.

Both hold the layer without scripts, the figure as JSON in a data block, and the painters as one
inline module, which replaces the static layer where it runs. Nothing is fetched from anywhere. The
page adds the arrays for `open_result`, and a policy under which nothing but that module runs.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from factviz.views import bundle, markup
from factviz.views.spec import Figure, figure_json, json_for_html
from factviz.views.static_layer import static_layer

_PAGE_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:1.5em auto;max-width:1200px;padding:0 1em}"
    "td{text-align:right;padding:2px 5px}th{padding:2px 5px;font-weight:normal}"
    "thead th,tfoot th{font-weight:bold}"
)


def table_fragment(figure: Figure) -> str:
    """The layer without scripts alone."""
    return f'<div class="factviz-static">{static_layer(figure)}</div>'


def _figure_element(figure: Figure) -> str:
    return (
        f'<div class="factviz" data-bundle="{bundle.bundle_hash()}">{table_fragment(figure)}'
        f'<script type="application/json">{figure_json(figure)}</script></div>'
    )


def fragment(figure: Figure) -> str:
    """The inline display: the figure with its painters, nothing to open again."""
    element = _figure_element(figure).removesuffix("</div>")
    return f'{element}<script type="module">{bundle.source()}</script></div>'


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def page(figure: Figure, stored: dict[str, Any]) -> str:
    """A self-contained page.

    Parameters
    ----------
    figure
        What to draw.
    stored
        The result itself as JSON, for `open_result`.
    """
    script = bundle.source()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{markup.attribute(figure.spec['title'][:200])}</title>\n"
        f"<style>:root{{color-scheme:light dark}}{_PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{_figure_element(figure)}\n</main>\n"
        "<noscript><p>Scripts are off: this is the figure's first page, as tables.</p></noscript>\n"
        f'<script type="application/json" class="factviz-result">{json_for_html(stored)}</script>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )
