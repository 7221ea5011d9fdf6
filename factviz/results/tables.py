"""The tidy table as bytes: CSV that no spreadsheet will run, and Parquet."""

from __future__ import annotations

import io
import unicodedata
from typing import TYPE_CHECKING

from factviz.results.shown import shown

if TYPE_CHECKING:
    import pandas as pd

# What spreadsheets take for a formula; the full-width forms are folded to these by some of them.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
# Control, format (they turn a line around) and line separators. CSV quotes tabs and line feeds, but
# a lone CR it leaves, and readers take that for the end of the row.
_COMMANDS = {"Cc", "Cf", "Zl", "Zp"}


def _visible(char: str) -> str:
    obeyed = unicodedata.category(char) in _COMMANDS and char not in "\t\n"
    return shown(char) if obeyed else char


def safe_cell(value: object) -> object:
    """A text cell as text: a leading quote before what would be a formula, nothing that commands.

    Numbers and missing values pass unchanged.
    """
    if not isinstance(value, str):
        return value
    safe = value if value.isprintable() else "".join(map(_visible, value))
    return "'" + safe if value.startswith(_FORMULA) else safe


def _text_columns(frame: pd.DataFrame) -> list[str]:
    from pandas.api import types

    return [str(name) for name in frame.columns if not types.is_numeric_dtype(frame[name].dtype)]


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8 CSV with a header line; text columns through `safe_cell`."""
    safe = frame.assign(
        **{name: frame[name].astype(object).map(safe_cell) for name in _text_columns(frame)}
    )
    text = safe.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", errors="backslashreplace")


def _encodable(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Parquet; text as it is, but for half surrogate pairs, which the format cannot hold."""
    names = _text_columns(frame)
    safe = frame.assign(**{name: frame[name].astype(object).map(_encodable) for name in names})
    stream = io.BytesIO()
    safe.to_parquet(stream, index=False)
    return stream.getvalue()
