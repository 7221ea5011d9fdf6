"""What every test stands on: quiet threads, no network for models, the shared reference data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports torch or huggingface_hub: both read these once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WANDB_MODE", "disabled")

import pytest

if TYPE_CHECKING:
    from factviz import FactModel

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _together(item: pytest.Item) -> str:
    """Which tests a worker keeps to itself: a file's, or all that need notebooks or a browser."""
    browser = ROOT / "tests" / "browser" in item.path.parents
    notebooks = browser or "executed" in getattr(item, "fixturenames", ())
    return "notebooks" if notebooks else item.path.relative_to(ROOT).as_posix()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest starts first: notebooks are run once, and one browser is open."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_together(item)))
    items.sort(key=lambda item: _together(item) != "notebooks")


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


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every notebook after a run from top to bottom, without a network."""
    import nbformat
    from nbclient import NotebookClient

    from tests.browser.jupyter import environment

    base = tmp_path_factory.mktemp("executed")
    folder = base / "work"
    folder.mkdir()
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        metadata = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources=metadata)
        client.execute(env=environment(base))
        nbformat.write(notebook, folder / path.name)
    return folder
