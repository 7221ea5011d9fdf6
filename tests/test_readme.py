"""The README is true: its example runs, its links inside the project lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from factviz.facts import builtin
from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_example_runs(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(examples) == 3
    names: dict[str, object] = {}
    for example in examples:
        exec(example, names)
    assert (tmp_path / "colosseum.html").exists()
    assert names["attribution"].residual_error < 1e-4


def test_links_inside_the_project_lead_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    local = [target for target in targets if not target.startswith("http")]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_it_counts_the_facts_that_there_are():
    rows = builtin.rows()
    assert f"{len(rows):,} of them" in TEXT
    assert f"{len({row.subject for row in rows}):,} subjects" in TEXT


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", TEXT, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
