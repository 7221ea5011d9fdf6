"""What a user may call a model: an embedded name, a folder, a Hub name, an object, a bridge."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformer_lens.model_bridge import TransformerBridge

from factviz.facts.errors import FactvizError

EMBEDDED = ("mini", "mini-propagation", "mini-gpt2")
_WEIGHTS = Path(__file__).parent / "mini" / "weights"


@dataclass(frozen=True)
class Found:
    """A bridge that is ours to use, the tokenizer, the name to show and the architecture's."""

    bridge: Any
    tokenizer: Any
    name: str
    architecture: str


def find(
    source: Any,
    *,
    tokenizer: Any,
    device: Any,
    dtype: torch.dtype | None,
    trust_remote_code: bool,
    boot: dict[str, Any],
) -> Found:
    """Bring whatever was given to a bridge and a tokenizer."""
    if isinstance(source, TransformerBridge):
        return _from_bridge(source, tokenizer, given=[device, dtype, *boot])
    if isinstance(source, nn.Module):
        return _from_object(source, tokenizer, device, dtype, boot)
    if not isinstance(source, (str, Path)) or not str(source).strip():
        raise FactvizError(
            f"{source!r} is no model: give {', '.join(map(repr, EMBEDDED))}, a folder, a Hub name, "
            "a transformers model or a TransformerBridge"
        )
    folder, name = _folder(source)
    options = {"device": device, "dtype": dtype or torch.float32, **boot}
    return _from_pretrained(folder, name, tokenizer, trust_remote_code, options)


def short_name(name: str) -> str:
    """A name without a path: the folder's own name, but "owner/model" stays."""
    path = Path(name)
    looks_local = path.is_absolute() or name.startswith((".", "~")) or "\\" in name
    if looks_local or len(path.parts) > 2 or path.exists():
        return path.resolve().name or "model"
    return name


def _folder(source: str | Path) -> tuple[Path | None, str]:
    """The folder to load from (None: the Hub) and the name to show."""
    if source in EMBEDDED:
        folder = _WEIGHTS / str(source)
        if not (folder / "config.json").is_file():
            raise FactvizError(
                f"the embedded model {source!r} has no weights in this installation: "
                f"python -m factviz.models.mini.train makes them; {_installed()}"
            )
        return folder, str(source)
    path = Path(source).expanduser()
    if path.is_dir():
        _check_folder(path)
        return path, short_name(str(path))
    if isinstance(source, Path) or path.exists() or short_name(source) != source:
        raise FactvizError(f"{str(source)!r} is no folder: give the folder that holds config.json")
    return None, source


def _installed() -> str:
    here = [name for name in EMBEDDED if (_WEIGHTS / name / "config.json").is_file()]
    return f"here are {', '.join(here)}" if here else "none is here"


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


def _from_bridge(bridge: Any, tokenizer: Any, given: list[Any]) -> Found:
    if any(value is not None for value in given):
        raise FactvizError("a TransformerBridge has its device, dtype and options already")
    if getattr(bridge, "compatibility_mode", False):
        raise FactvizError(
            "this bridge is in compatibility mode (folded weights): boot it again without it"
        )
    tokenizer = tokenizer or bridge.tokenizer
    if tokenizer is None:
        raise FactvizError("this bridge has no tokenizer: pass tokenizer=")
    name = short_name(str(bridge.cfg.model_name or "bridge"))
    return Found(bridge, tokenizer, name, _architecture(bridge.original_model.config))


def _from_object(
    model: nn.Module, tokenizer: Any, device: Any, dtype: torch.dtype | None, boot: dict[str, Any]
) -> Found:
    config = getattr(model, "config", None)
    if config is None:
        raise FactvizError(f"{type(model).__name__} is no transformers model: it has no config")
    architecture = type(model).__name__
    origin = str(getattr(config, "_name_or_path", "") or "")
    tokenizer = tokenizer or _local_tokenizer(origin, architecture)
    _refuse_other_kinds(config, architecture)
    # Bridging replaces modules in place: the user's model stays as it is.
    ours = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
    held = next(ours.parameters())
    options = {"device": str(held.device), "dtype": held.dtype, **boot}
    name = short_name(origin) if origin else architecture
    bridge = _boot(name, tokenizer, architecture, {"hf_model": ours, **options})
    return Found(bridge, tokenizer, name, architecture)


def _local_tokenizer(origin: str, architecture: str) -> Any:
    if origin:
        try:
            return transformers.AutoTokenizer.from_pretrained(origin, local_files_only=True)
        except (OSError, ValueError):
            pass
    raise FactvizError(f"no tokenizer came with this {architecture}: pass tokenizer=")


def _from_pretrained(
    folder: Path | None,
    name: str,
    tokenizer: Any,
    trust_remote_code: bool,
    options: dict[str, Any],
) -> Found:
    where = name if folder is None else str(folder)
    common = {"trust_remote_code": trust_remote_code, "local_files_only": folder is not None}
    versions = {key: options[key] for key in ("revision", "code_revision") if key in options}
    with _one_line(where), _quiet(folder is not None):
        config = transformers.AutoConfig.from_pretrained(where, **common, **versions)
        architecture = _architecture(config)
        _refuse_other_kinds(config, architecture)
        if tokenizer is None:
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **common, **versions)
        loader = _SafeLoader(options.pop("model_class", None), common["local_files_only"])
        options = {"model_class": loader, "trust_remote_code": trust_remote_code, **options}
        bridge = _boot(where, tokenizer, architecture, options)
    bridge.cfg.model_name = name
    bridge.original_model.eval()
    bridge.original_model.config.output_attentions = False  # one layer's pattern at a time
    return Found(bridge, tokenizer, name, architecture)


class _SafeLoader:
    """Stands where the bridge expects a model class, and allows safetensors only."""

    def __init__(self, chosen: Any, local: bool) -> None:
        self.chosen = chosen or transformers.AutoModelForCausalLM
        self.local = local

    def from_pretrained(self, name: str, **options: Any) -> Any:
        options |= {"use_safetensors": True, "local_files_only": self.local}
        return self.chosen.from_pretrained(name, **options)

    def from_config(self, config: Any, **options: Any) -> Any:
        return self.chosen.from_config(config, **options)


def _boot(name: str, tokenizer: Any, architecture: str, options: dict[str, Any]) -> Any:
    """Bridge a model; what TransformerLens can't bridge is refused in one line."""
    # The bridge changes the tokenizer it is given (pad and BOS tokens).
    options = {"tokenizer": copy.deepcopy(tokenizer), **options}
    try:
        return TransformerBridge.boot_transformers(name, **options)
    except (OSError, FactvizError):
        raise
    except Exception as error:
        raise FactvizError(
            f"{architecture} can't be decomposed: TransformerLens does not bridge it "
            f"({type(error).__name__}: {_first_line(error)})"
        ) from None


def _architecture(config: Any) -> str:
    named = getattr(config, "architectures", None)
    return str(named[0] if named else getattr(config, "model_type", type(config).__name__))


def _refuse_other_kinds(config: Any, architecture: str) -> None:
    """Refuse before weights are loaded: encoders, encoder-decoders, models without attention."""
    from transformers.models.auto import modeling_auto as auto

    kind = getattr(config, "model_type", None)
    causal = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    both_ways = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if getattr(config, "is_encoder_decoder", False):
        why = "it is an encoder-decoder"
    elif kind in both_ways and not getattr(config, "is_decoder", False):
        why = "it is an encoder: its positions see the whole text"
    elif "auto_map" not in vars(config) and kind is not None and kind not in causal:
        why = "it is no language model that predicts the next token"
    else:
        return
    raise FactvizError(f"{architecture} can't be decomposed: {why}; decoder-only models work")


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Loading errors as one line that names the model."""
    try:
        yield
    except FactvizError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        local = Path(where).is_dir()
        raise FactvizError(_what_failed(where, local, error)) from None


def _what_failed(where: str, local: bool, error: Exception) -> str:
    reason = f"{type(error).__name__}: {_first_line(error)}"
    if local:
        return f"folder {where!r} could not be loaded as a model ({reason})"
    if "trust_remote_code" in str(error):
        return f"model {where!r} brings its own code: trust_remote_code=True runs it, if you do"
    return (
        f"model {where!r} is not embedded ({', '.join(EMBEDDED)}), is no folder here, and could "
        f"not be had from the Hugging Face Hub: wrong name, no safetensors, or no network ({reason})"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no reason given"


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """No progress bars while weights come from the disk."""
    from transformers.utils import logging

    was = logging.is_progress_bar_enabled()
    if wanted:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if was:
            logging.enable_progress_bar()
