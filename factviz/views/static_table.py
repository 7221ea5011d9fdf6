"""The layer without scripts: the figure as coloured tables.

A notebook that is reopened but not trusted loses scripts, style sheets, SVG, ids, roles and
``var()``. What JupyterLab's sanitiser leaves is enough for the figure itself: tables with inline
``rgba()`` backgrounds and gradients, captions, ``scope``, ``title`` and ``<bdi>``. Text takes the
theme's own colour, so the tables are right in light and dark.
"""

from __future__ import annotations

import numpy as np

from factviz.results.shown import digits_for, number, shown, token_text
from factviz.views import colours, markup
from factviz.views.matrix_layout import Layout, layout, runs
from factviz.views.spec import Figure, Panel, has_plus

MOST_ROWS = 30
MOST_COLUMNS = 40
FAINT = 0.015  # opacity below which a cell is as good as blank
NAMED = 0.05  # opacity from which a cell carries a tooltip
_TABLE = (
    '<table cellpadding="3" style="border-collapse:collapse;font-size:12px;margin:4px 0;'
    'text-align:right">'
)
_CAPTION = '<caption style="text-align:left;font-weight:bold;padding:4px 0">'
_RULE = ' style="border-left:1px solid rgba(128,128,128,0.5)"'
_SUM = ' style="border-top:1px solid rgba(128,128,128,0.8);font-weight:bold"'
_LEFT = ' style="text-align:left;white-space:nowrap"'


def _digits(text: str) -> str:
    return "0" if text.strip("0.") == "" else text


def _background(value: float, limit: float) -> str:
    if colours.opacity(value, limit) < FAINT:
        return ""
    return f' style="background:{colours.css(value, limit)}"'


def _cell(value: float, limit: float, digits: int, title: str = "") -> str:
    # A page of small cells is mostly faint ones: what they are, row and column say.
    named = title and colours.opacity(value, limit) >= NAMED
    hint = f' title="{markup.attribute(title)}"' if named else ""
    text = _digits(number(value, digits))
    return f"<td{_background(value, limit)}{hint}>{text}</td>"


def _total(text: str, sums: bool) -> str:
    return f"<td{_RULE}><b>{text}</b></td>" if sums else ""


def _group_row(found: Layout) -> str:
    cells = [
        f'<th scope="colgroup" colspan="{stop - start}"{_RULE}>{markup.plain(name, 20)}</th>'
        for name, start, stop in runs([column.group for column in found.columns])
    ]
    return f"<tr><td></td>{''.join(cells)}{'<td></td>' if found.sums else ''}</tr>"


def _head_row(panel: Panel, found: Layout) -> str:
    cells = []
    for column in found.columns:
        text = markup.plain(column.label) if column.rest else markup.token(column.label, 12)
        where = (
            "" if column.rest else f"position {column.members[0]}: {token_text(column.label, 200)}"
        )
        hint = f' title="{markup.attribute(where)}"' if where else ""
        cells.append(f'<th scope="col"{hint}>{text}</th>')
    title = markup.plain(panel["rows"]["title"])
    total = f'<th scope="col"{_RULE}>total</th>' if found.sums else ""
    return f'<tr><th scope="col">{title}</th>{"".join(cells)}{total}</tr>'


def _body_row(found: Layout, row: int, digits: int) -> str:
    line = found.rows[row]
    cells = [
        "<td></td>"
        if found.unsaid(line, column) or np.isnan(value)
        else _cell(
            float(value),
            found.limit,
            digits,
            "" if line.rest or column.rest else f"{line.label} {token_text(column.label, 16)}",
        )
        for value, column in zip(found.values[row], found.columns, strict=True)
    ]
    total = _total(number(float(found.row_totals[row]), digits), found.sums)
    label = markup.plain(line.label, 24)
    return f'<tr><th scope="row"{_LEFT}>{label}</th>{"".join(cells)}{total}</tr>'


def _foot_row(panel: Panel, found: Layout, digits: int) -> str:
    cells = "".join(f"<td>{number(float(v), digits)}</td>" for v in found.column_totals)
    label = f"all {found.count} {shown(panel['rows']['title'], limit=20)}s"
    return (
        f'<tr><th scope="row"{_LEFT}>{markup.plain(label)}</th>{cells}'
        f"{_total(number(found.total, digits), found.sums)}</tr>"
    )


def matrix_table(figure: Figure, panel: Panel) -> str:
    """A matrix panel as a coloured table: its first page, 30 rows at most."""
    found = layout(figure, panel, most_rows=MOST_ROWS, most_columns=MOST_COLUMNS)
    digits = digits_for(found.limit)
    head = _group_row(found) if any(column.group for column in found.columns) else ""
    body = "".join(_body_row(found, row, digits) for row in range(len(found.rows)))
    foot = f"<tfoot>{_foot_row(panel, found, digits)}</tfoot>" if found.sums else ""
    return (
        f"{_TABLE}{_caption(panel)}<thead>{head}{_head_row(panel, found)}</thead>"
        f"<tbody>{body}</tbody>{foot}</table>"
    )


def _caption(panel: Panel) -> str:
    pages = panel.get("pages")
    text = markup.plain(panel["title"], 300)
    if pages:
        text += f": {markup.plain(pages['options'][0], 80)}"
        more = len(pages["options"]) - 1
        text += f" (1 of {more + 1})" if more else ""
    return f"{_CAPTION}{text}, {markup.plain(panel['unit'])}</caption>"


def _bar(value: float, limit: float) -> str:
    """A bar as a background: from the middle to the right if positive, to the left if negative."""
    if not np.isfinite(value):
        return ""
    end = 50 + 50 * max(-1.0, min(1.0, value / limit))
    start, stop = sorted((50.0, end))
    colour = colours.css(value, abs(value))
    return (
        f"background-image:linear-gradient(to right,transparent {start:.1f}%,{colour} {start:.1f}%,"
        f"{colour} {stop:.1f}%,transparent {stop:.1f}%)"
    )


def bars_table(figure: Figure, panel: Panel) -> str:
    """A bars panel as a table whose cells are the bars; intervals stand as numbers."""
    values = figure.values(panel["values"])
    limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    digits, plus = digits_for(limit), has_plus(figure, panel)
    classes: list[str] = panel["classes"] or [""] * len(values)
    low, high = (figure.values(panel[k]) if panel[k] else None for k in ("low", "high"))
    rows = []
    for i, (label, value) in enumerate(zip(panel["labels"], map(float, values), strict=True)):
        span = (
            ""
            if low is None or high is None
            else (f" [{number(float(low[i]), digits)}, {number(float(high[i]), digits)}]")
        )
        name = markup.plain(label, 60) + (f" {markup.plain(classes[i])}" if classes[i] else "")
        last = panel["total"] and i == len(values) - 1
        rows.append(
            f'<tr{_SUM if last else ""}><th scope="row"{_LEFT}>{name}</th>'
            f'<td style="width:240px;{_bar(value, limit)}"></td>'
            f'<td style="white-space:nowrap">{number(value, digits, sign=plus)}{span}</td></tr>'
        )
    return f"{_TABLE}{_caption(panel)}<tbody>{''.join(rows)}</tbody></table>"
