"""What to paste in a bug report."""

from __future__ import annotations

import platform
from importlib import metadata

_DISTRIBUTIONS = (
    "factviz",
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "xarray",
    "pandas",
    "pyarrow",
    "matplotlib",
    "anywidget",
    "ipython",
    "ipykernel",
    "jupyterlab",
    "notebook",
    "marimo",
)


class Versions(dict[str, str]):
    """Names and versions; prints as an aligned list."""

    @property
    def text(self) -> str:
        """The list, one line each."""
        width = max(map(len, self))
        return "\n".join(f"{name:<{width}}  {version}" for name, version in self.items())

    def __repr__(self) -> str:
        return self.text


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def show_versions() -> Versions:
    """Versions of Python, the system and the libraries; imports none of them.

    Returns
    -------
    Versions
        A dict that prints as an aligned list. Holds no path and no user name.
    """
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    found = {"python": platform.python_version(), "system": system}
    return Versions(found | {name: _installed(name) for name in _DISTRIBUTIONS})
