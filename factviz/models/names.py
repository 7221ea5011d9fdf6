"""Model names: embedded, a folder, the Hub; and what a folder must hold."""

from __future__ import annotations

import json
import os
import socket
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub

from factviz.facts.errors import FactvizError

EMBEDDED = ("mini", "mini-propagation", "mini-gpt2")
_WEIGHTS = Path(__file__).parent / "mini" / "weights"
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = {"\u200c", "\u200d"}  # joiners: emoji and several scripts are spelt with them


def visible(text: str) -> str:
    """A name as it may be printed: what hides, reorders or commands is named instead."""
    return "".join(
        f"‹U+{ord(char):04X}›"
        if unicodedata.category(char) in _HIDDEN and char not in _KEPT
        else char
        for char in text
    )


def short_name(name: str) -> str:
    """A name without a path: the folder's own name, but "owner/model" stays."""
    path = Path(name)
    looks_local = path.is_absolute() or name.startswith((".", "~")) or "\\" in name
    if looks_local or len(path.parts) > 2 or path.exists():
        return path.resolve().name or "model"
    return name


def locate(source: str | Path, step: int | None = None) -> tuple[Path | None, str]:
    """The folder to load from (None: the Hub) and the name to show.

    ``step`` asks for a checkpoint from an embedded model's training.
    """
    if source in EMBEDDED:
        folder = _WEIGHTS / str(source)
        if not (folder / "config.json").is_file():
            raise FactvizError(_not_here(str(source)))
        if step is not None:
            return _checkpoint(folder, step), f"{source}, step {step}"
        return folder, str(source)
    if step is not None:
        raise FactvizError(
            f"step={step} is for the embedded models ({', '.join(EMBEDDED)}); a Hub repository's "
            "checkpoints are revisions: revision='step1000'"
        )
    path = _path(source)
    if path.is_dir():
        _check_folder(path)
        return path, short_name(str(path))
    if isinstance(source, Path) or path.exists() or short_name(source) != source:
        raise FactvizError(f"{str(source)!r} is no folder: give the folder that holds config.json")
    return None, source


def steps_of(folder: Path) -> list[int]:
    """The steps of an embedded model's training that were kept, in order."""
    return sorted(int(path.name) for path in (folder / "steps").glob("[0-9]*"))


def training_of(folder: Path | None) -> dict[str, Any]:
    """What an embedded model's manifest says of its training; nothing for other models."""
    path = None if folder is None or not folder.is_relative_to(_WEIGHTS) else folder
    if path is None:
        return {}
    at = int(path.name) if path.parent.name == "steps" else None
    text = ((path if at is None else path.parents[1]) / "manifest.json").read_text(encoding="utf-8")
    state = json.loads(text)
    return {
        "recipe": state["name"],
        "seed": state["seed"],
        "step": state["step"] if at is None else at,
        "manifest": state["manifest"]["corpus"],
    }


def _checkpoint(folder: Path, step: int) -> Path:
    kept = steps_of(folder)
    if isinstance(step, bool) or step not in kept:
        there = ", ".join(map(str, kept)) if kept else "none"
        raise FactvizError(
            f"no checkpoint of {folder.name} at step {step!r}; there are {there}, and without "
            "step= the trained model"
        )
    return folder / "steps" / str(step)


def _path(source: str | Path) -> Path:
    """The path, if the system can look there at all (no null bytes, not too long)."""
    try:
        path = Path(source).expanduser()
        path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise FactvizError(f"{str(source)[:80]!r} is no model name ({reason(error)})") from None
    return path


def is_offline() -> bool:
    """Whether the Hub's name can't be resolved; transformers would retry for half a minute."""
    if huggingface_hub.constants.is_offline_mode():
        return True
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return False
    host = urlparse(huggingface_hub.constants.ENDPOINT).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return True
    return False


def cached_folder(name: str, boot: dict[str, Any]) -> Path:
    """The folder of a Hub model that was downloaded before."""
    revision = boot.get("revision")
    try:
        if any(boot.get(key) is not None for key in ("checkpoint_index", "checkpoint_value")):
            raise OSError("checkpoints by number are looked up on the Hub")
        found = huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True)
    except (OSError, ValueError) as error:
        raise FactvizError(what_failed(name, False, error)) from None
    return Path(found)


def installed() -> list[str]:
    """The embedded models whose weights are here."""
    return [name for name in EMBEDDED if (_WEIGHTS / name / "config.json").is_file()]


def _not_here(name: str) -> str:
    here = f"here: {', '.join(installed()) or 'none'}"
    if name == "mini":
        return (
            "the embedded model 'mini' has no weights in this installation: python -m "
            f"factviz.models.mini.train makes them ({here})"
        )
    return f"the embedded model {name!r} does not come with this version of factviz yet ({here})"


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise FactvizError(
            f"folder {str(folder)!r} holds no model: config.json is missing (save one there with "
            "model.save_pretrained)"
        )
    if not any(folder.glob("*.safetensors")):
        raise FactvizError(
            f"folder {str(folder)!r} holds no safetensors weights: pickled weights (.bin, .pt) can "
            "run code and are not loaded; save it again with model.save_pretrained"
        )


def check_tokenizer(folder: Path) -> None:
    """Without its files transformers makes up an empty tokenizer."""
    names = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "vocab.txt")
    if not any((folder / name).is_file() for name in names):
        raise FactvizError(
            f"folder {str(folder)!r} holds no tokenizer: save it there with "
            "tokenizer.save_pretrained, or pass tokenizer="
        )


def what_failed(where: str, local: bool, error: Exception) -> str:
    """One line on a model that could not be loaded, with a remedy."""
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return f"model {where!r} brings its own code: trust_remote_code=True runs it"
    if local:
        return f"folder {where!r} could not be loaded as a model ({reason(error)})"
    return (
        f"model {where!r} is not embedded ({', '.join(installed()) or 'none is'}), is no folder "
        "here, and could not be had from the Hugging Face Hub: wrong name, no safetensors, or no "
        f"network ({reason(error)})"
    )


def reason(error: Exception) -> str:
    """The kind and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {visible(lines[0][:160])}" if lines else type(error).__name__
