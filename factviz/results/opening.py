"""A saved result again. The file may come from anyone: it is parsed, never run."""

from __future__ import annotations

import importlib
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from factviz.facts.errors import FactvizError
from factviz.results import storage
from factviz.results.base import Result
from factviz.results.shown import shown

_KINDS = {
    "AdditiveMotif": "factviz.results.additive_motif",
    "AttentionKnockout": "factviz.results.attention_knockout",
    "AttributesRate": "factviz.results.attributes_rate",
    "Attribution": "factviz.results.attribution",
    "Causal": "factviz.results.causal",
    "Comparison": "factviz.results.comparison",
    "EditEffects": "factviz.results.edit_effects",
    "EnrichingNeurons": "factviz.results.enriching_neurons",
    "Extraction": "factviz.results.extraction",
    "Gradients": "factviz.results.gradients",
    "HeadClasses": "factviz.results.head_classes",
    "HeadEffects": "factviz.results.head_effects",
    "HeadProfile": "factviz.results.head_profile",
    "HeadVocabulary": "factviz.results.head_vocabulary",
    "HubMap": "factviz.results.hub_map",
    "LogitLens": "factviz.results.lens",
    "MLPBoosts": "factviz.results.mlp_boosts",
    "MLPDecomposition": "factviz.results.mlp_decomposition",
    "Misfires": "factviz.results.misfires",
    "Mitigation": "factviz.results.mitigation",
    "MoverHeads": "factviz.results.movers",
    "RecallFlow": "factviz.results.recall_flow",
    "PathPatching": "factviz.results.path_patching",
    "Reversal": "factviz.results.reversal",
    "SharedAttributes": "factviz.results.shared_attributes",
    "ShotComparison": "factviz.results.shot_comparison",
    "SublayerKnockout": "factviz.results.sublayer_knockout",
    "TokenTrace": "factviz.results.token_trace",
    "Suppressors": "factviz.results.suppressors",
}


class _StoredResult(HTMLParser):
    """Collects the text of the data block that holds the result."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.inside = False
        self.found: list[str] = []
        self.complete = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = tag == "script" and ("class", "factviz-result") in attrs
        self.inside = wanted and not self.complete

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self.inside:
            self.inside, self.complete = False, True


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise FactvizError(f"cannot open {shown(str(path))!r}: {reason}") from None
    except UnicodeDecodeError:
        raise _no_result(path, "it is no HTML page") from None


def _no_result(path: Path, reason: str) -> FactvizError:
    return FactvizError(
        f"{shown(str(path))!r} is no result saved by factviz ({shown(reason, limit=200)});"
        " open an .html file that .save() wrote"
    )


def _content(path: Path) -> dict[str, Any]:
    parser = _StoredResult()
    parser.feed(_read(path))
    if not parser.complete:
        raise _no_result(path, "cut off" if parser.found else "it holds no arrays")
    try:
        content = json.loads("".join(parser.found))
    except (ValueError, RecursionError):
        raise _no_result(path, "its data cannot be read") from None
    if not isinstance(content, dict) or content.get("format") != storage.FORMAT:
        raise _no_result(path, "its data have another format")
    if content.get("version") != storage.VERSION:
        version = shown(str(content.get("version")), limit=20)
        raise _no_result(path, f"its format is version {version}, this factviz reads 1")
    return content


def _viewed(result: Any, content: dict[str, Any]) -> Any:
    """The result as it was drawn; ``view`` itself checks what the file asks for."""
    options = content.get("view", {})
    return result.view(**options) if options else result


def open_result(path: str | os.PathLike[str]) -> Any:
    """Read back a result that ``.save("….html")`` wrote.

    Parameters
    ----------
    path
        An HTML file. It is read as data: nothing in it is executed or unpickled.

    Returns
    -------
    Result
        Equal to the saved one: same arrays, coordinates and provenance, and drawn as it was (what
        ``.view()`` chose).

    Raises
    ------
    FactvizError
        If the file is missing, was not saved by factviz, is cut off or was changed.
    """
    path = Path(path).expanduser()
    content = _content(path)
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _no_result(path, f"unknown kind {kind!r}")
    made: type[Result] = getattr(importlib.import_module(_KINDS[kind]), kind)
    try:
        return _viewed(made(storage.dataset(content), content["provenance"]), content)
    except Exception as error:  # whatever a broken or forged file makes NumPy, zip or xarray say
        raise _no_result(path, str(error) or type(error).__name__) from None
