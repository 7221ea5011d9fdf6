from __future__ import annotations

import csv
import errno
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import factviz  # registers the views
from factviz.facts.errors import FactvizError
from factviz.results import files, tables
from tests import factories
from tests.hostile import HOSTILE


def test_an_unknown_suffix_names_those_that_work(tmp_path):
    with pytest.raises(FactvizError, match=r"\.html, \.svg, \.png, \.pdf, \.csv, \.parquet"):
        factories.attribution().save(tmp_path / "figure.docx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", ".htm", ".JPG"])
def test_other_suffixes_are_refused_before_anything_is_drawn(tmp_path, suffix):
    with pytest.raises(FactvizError, match="cannot save"):
        factories.attribution().save(tmp_path / f"x{suffix}")


def test_capital_suffixes_work(tmp_path):
    path = factories.attribution().save(tmp_path / "x.CSV")
    assert path.read_text().startswith("fact,component")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FactvizError, match=r"no folder .*nowhere"):
        factories.attribution().save(tmp_path / "nowhere" / "x.csv")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(FactvizError, match="it is a folder"):
        factories.attribution().save(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["a\0b.csv", "x" * 300 + ".csv"])
def test_impossible_names_are_one_clear_line(tmp_path, name):
    with pytest.raises(FactvizError) as caught:
        factories.attribution().save(tmp_path / name)
    assert "\n" not in str(caught.value) and "\0" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch, stage):
    path = tmp_path / "x.csv"
    path.write_text("before")

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if stage == "fsync" else (Path, "replace")), full)
    with pytest.raises(FactvizError, match=r"No space left on device.*nothing was changed"):
        files.write_whole(path, b"after")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_an_interrupt_passes_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "x.csv", b"after")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    files.write_whole(tmp_path / "link.csv", b"after")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "after"


def test_files_follow_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        path = files.write_whole(tmp_path / "x.csv", b"x")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_keeps_its_protection(tmp_path, mode):
    path = tmp_path / "x.csv"
    path.write_text("before")
    path.chmod(mode)
    files.write_whole(path, b"after")
    assert path.stat().st_mode & 0o777 == mode
    assert path.read_text() == "after"


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(FactvizError, match="it is a pipe"):
        files.write_whole(tmp_path / "x.csv", b"after")
    assert (tmp_path / "x.csv").is_fifo()


def test_a_protected_file_is_not_replaced(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("before")
    path.chmod(0o444)
    with pytest.raises(FactvizError, match=r"mode 0444\); make it writable"):
        files.write_whole(path, b"after")
    assert path.read_text() == "before"


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # a superuser may write anywhere
    with pytest.raises(FactvizError, match="may not be written; choose another"):
        files.write_whole(tmp_path / "x.csv", b"after")


@pytest.mark.parametrize("start", list("=+-@\t\r\n＝"))
def test_cells_that_look_like_formulas_are_quoted(start):
    assert tables.safe_cell(start + "1") == "'" + start.replace("\r", "␍") + "1"


def test_numbers_are_not_touched():
    assert tables.safe_cell(-1.5) == -1.5
    frame = pd.DataFrame({"x": np.array([-1.5, 2.0], dtype=np.float32), "t": ["-a", "b"]})
    assert tables.csv_bytes(frame).decode() == "x,t\n-1.5,'-a\n2.0,b\n"


def _csv_cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))


def test_hostile_text_in_csv_is_text(tmp_path):
    result = factories.hostile(HOSTILE)
    rows = _csv_cells(result.save(tmp_path / "x.csv").read_bytes())
    header, body = rows[0], rows[1:]
    assert len(body) == len(result.to_frame())
    assert all(len(row) == len(header) for row in body)
    text = [header.index(name) for name in ("token", "attribute", "attribute_token")]
    cells = [row[i] for row in body for i in text]
    assert "'=1+1" in cells and "'@SUM(A1)" in cells
    assert "</script><script>alert(1)</script>" in cells
    assert not any(cell.startswith(tuple("=+-@\t\r")) for cell in cells)
    assert not any(c in "\u202e\u202c\u2066\u2069\u200f\u2028\x9b" for c in "".join(cells))
    assert "‹U+202E›evil‹U+202C› ‹U+2066›x‹U+2069›‹U+200F›" in cells
    assert "😀 👩\u200d👩\u200d👧 🇮🇹" in cells
    assert not any(ord(c) < 32 and c not in "\t\r\n" for cell in cells for c in cell)


def test_values_in_csv_are_exact(tmp_path):
    result = factories.several()
    read = pd.read_csv(result.save(tmp_path / "x.csv"))
    np.testing.assert_array_equal(
        read["contribution"].to_numpy(np.float32), result.to_frame()["contribution"].to_numpy()
    )


def test_parquet_gives_the_table_back(tmp_path):
    result = factories.hostile(HOSTILE)
    read = pd.read_parquet(result.save(tmp_path / "x.parquet"))
    frame = result.to_frame()
    assert list(read.columns) == list(frame.columns)
    for name in ("token", "attribute"):
        assert [v or None for v in read[name].astype(object).where(read[name].notna(), None)] == [
            v or None for v in frame[name].astype(object).where(frame[name].notna(), None)
        ]
    np.testing.assert_array_equal(read["contribution"], frame["contribution"])


def test_saved_and_named(tmp_path):
    assert factviz.open_result is not None
    path = factories.attribution().save(str(tmp_path / "x.html"))
    assert isinstance(path, Path)
    assert path == tmp_path / "x.html"
