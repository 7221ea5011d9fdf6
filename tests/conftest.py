"""What every test stands on: quiet threads, no network for models, the shared reference data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Before anything imports torch or huggingface_hub: both read these once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WANDB_MODE", "disabled")

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
def mini() -> Any:
    """The embedded model, loaded once; a test that changes it loads its own."""
    import factviz

    return factviz.load_model()
