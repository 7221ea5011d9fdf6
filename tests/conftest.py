"""What every test stands on: quiet threads, no network for models, the shared reference data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports torch or huggingface_hub: both read these once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WANDB_MODE", "disabled")

import pytest

from tests.notebook_runs import read_cells, run_cells

if TYPE_CHECKING:
    from factviz import FactModel

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks and browsers take longest, so they start first."""
    browser = ROOT / "tests" / "browser"
    long = {
        item.path
        for item in items
        if browser in item.path.parents or "executed" in getattr(item, "fixturenames", ())
    }
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder with pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data beside the checkout, or wherever FACTVIZ_SHARED points."""
    folder = Path(os.environ.get("FACTVIZ_SHARED") or ROOT.parent / "shared")
    if not (folder / "expected" / "expected.json").is_file():
        pytest.skip(f"no reference data in {folder}: set FACTVIZ_SHARED to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def mini() -> FactModel:
    """The embedded model, loaded once."""
    import factviz

    return factviz.load_model()


def _execute(path: Path, folder: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    from tests.browser.jupyter import environment

    notebook = nbformat.read(path, as_version=4)
    metadata = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources=metadata)
    client.execute(env=environment(folder.parent / path.stem))
    nbformat.write(notebook, folder / path.name)


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every notebook after a run from top to bottom, without a network.

    Workers share it: each runs what nobody has begun, then waits for the others.
    """
    from filelock import FileLock, Timeout

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "executed" / "work"
    folder.mkdir(parents=True, exist_ok=True)
    for patience in (0, -1):
        for path in NOTEBOOKS:
            try:
                with FileLock(folder.parent / f"{path.name}.lock", timeout=patience):
                    if not (folder / path.name).exists():
                        _execute(path, folder)
            except Timeout:
                continue
    return folder


@pytest.fixture(scope="module")
def cells(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The cells of the notebook that a test module names as ``NOTEBOOK``, by their id."""
    return read_cells(request.module.NOTEBOOK)


@pytest.fixture(scope="module")
def notebook(cells: dict[str, Any]) -> dict[str, Any]:
    """The names that its cells define, run here."""
    return run_cells(cells)


@pytest.fixture
def told(notebook: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What its `check` prints about an answer."""

    def check(number: int, answer: object) -> str:
        capsys.readouterr()
        notebook["check"](number, answer)
        return capsys.readouterr().out

    return check
