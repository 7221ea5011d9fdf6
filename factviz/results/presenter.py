"""How a result finds the rooms that draw it, which it may not import.

``factviz/__init__.py`` registers one loader for the views and one for the widgets; nothing is
imported before a result is first shown or saved.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

_loaders: dict[str, Callable[[], ModuleType]] = {}


def register(views: Callable[[], ModuleType], widgets: Callable[[], ModuleType]) -> None:
    """Tell results where their views and their widgets live."""
    _loaders["views"] = views
    _loaders["widgets"] = widgets


def views() -> ModuleType:
    """The module with ``mimebundle``, ``render`` and ``plot``, each taking a result first."""
    return _loaders["views"]()


def widgets() -> ModuleType:
    """The module with ``result_widget``, taking a result."""
    return _loaders["widgets"]()
