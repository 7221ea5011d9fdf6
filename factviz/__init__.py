"""factviz shows, inside a notebook, where a language model's factual answer comes from.

The public names are loaded on first use, so that ``import factviz`` stays under 0.2 s and brings
no torch until a model is loaded.
"""

from __future__ import annotations

import importlib
from typing import Any

from factviz.results import presenter

__version__ = "0.1.0"

_PUBLIC = {
    "Attribution": "factviz.results.attribution",
    "Fact": "factviz.facts.fact",
    "FactModel": "factviz.models.factmodel",
    "FactSet": "factviz.facts.factset",
    "FactvizError": "factviz.facts.errors",
    "FactvizWarning": "factviz.facts.errors",
    "Trace": "factviz.models.traced",
    "attribute_logits": "factviz.analysis.attribution",
    "load_model": "factviz.models.loading",
    "open_result": "factviz.results.opening",
    "options": "factviz.results.options",
    "show_versions": "factviz.results.versions",
    "trace": "factviz.models.traced",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'factviz' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


# Results draw themselves, but may not import the rooms above them: the house wires them here.
presenter.register(
    lambda: importlib.import_module("factviz.views.presenter"),
    lambda: importlib.import_module("factviz.notebook.widget"),
)
