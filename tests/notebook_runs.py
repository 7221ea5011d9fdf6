"""Our notebooks in tests: their cells run here, their written solutions, what a run has drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat


def read_cells(path: Path) -> dict[str, Any]:
    """The cells by their id, in order."""
    return {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}


def run_cells(cells: dict[str, Any], *changes: tuple[str, str]) -> dict[str, Any]:
    """The names that the cells define; no figure is drawn for that."""
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells.values():
        if cell.cell_type == "code":
            source = cell.source
            for old, new in changes:
                source = source.replace(old, new)
            exec(compile(source, cell.id, "exec"), names)
    return names


def solution_text(cells: dict[str, Any], number: int) -> str:
    """The code of an exercise's written solution."""
    text = cells[f"solution-{number}"].source
    assert text.startswith("<details><summary>") and text.endswith("</details>")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return code


def solution(cells: dict[str, Any], number: int) -> Any:
    """The same, compiled."""
    return compile(solution_text(cells, number), f"solution-{number}", "exec")


def outputs_of(path: Path) -> dict[str, Any]:
    """The outputs of every code cell of an executed notebook."""
    return {name: cell.outputs for name, cell in read_cells(path).items() if "outputs" in cell}


def drawn(outputs: dict[str, Any]) -> set[str]:
    """The cells that show a figure of ours."""
    return {
        name
        for name, some in outputs.items()
        for output in some
        if "data-bundle" in output.get("data", {}).get("text/html", "")
    }
