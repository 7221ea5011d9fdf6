"""What a user may call a model: an embedded name, a folder, a Hub name, an object, a bridge."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformer_lens.model_bridge import TransformerBridge

from factviz.facts.errors import FactvizError
from factviz.models import checkpoints, names, repairs


@dataclass(frozen=True)
class Found:
    """A bridge that is ours to use, the tokenizer, the name to show and the architecture's.

    ``training``: of an embedded model, the manifest of its training.
    """

    bridge: Any
    tokenizer: Any
    name: str
    architecture: str
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])


def find(
    source: Any,
    *,
    tokenizer: Any,
    device: Any,
    dtype: torch.dtype | None,
    trust_remote_code: bool,
    step: int | None,
    boot: dict[str, Any],
) -> Found:
    """Bring whatever was given to a bridge and a tokenizer."""
    _check_device(device)
    _check_options(boot)
    _check_tokenizer(tokenizer)
    if step is not None and not isinstance(source, (str, Path)):
        raise FactvizError(f"step={step} is for the embedded models, and this is an object")
    if isinstance(source, TransformerBridge):
        return _from_bridge(source, tokenizer, given=[device, dtype, *boot])
    if isinstance(source, nn.Module):
        return _from_object(source, tokenizer, device, dtype, boot)
    if not isinstance(source, (str, Path)) or not str(source).strip():
        raise FactvizError(
            f"{source!r} is no model: give {_embedded()}a folder, a Hub name, a transformers "
            "model or a TransformerBridge"
        )
    folder, name = names.locate(source, step)
    if folder is None and names.is_offline():
        folder = names.cached_folder(name, boot)
    options = {"device": device, "dtype": dtype or torch.float32, **boot}
    return _from_pretrained(folder, name, tokenizer, trust_remote_code, options)


def _check_device(device: Any) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise FactvizError(
            f"device {str(device)!r} is not available here ({names.reason(error)})"
        ) from None


def _check_options(boot: dict[str, Any]) -> None:
    known = [*inspect.signature(TransformerBridge.boot_transformers).parameters][1:]
    taken = {"device", "dtype", "tokenizer", "trust_remote_code", "hf_model"}
    for name in boot:
        if name not in known or name in taken:
            free = ", ".join(key for key in known if key not in taken)
            raise FactvizError(f"unknown option {name!r}; beside load_model's own there are {free}")


def _check_tokenizer(tokenizer: Any) -> None:
    if tokenizer is not None and not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        raise FactvizError(
            f"tokenizer {str(tokenizer)[:80]!r} ({type(tokenizer).__name__}) is none of "
            "transformers: load one with AutoTokenizer.from_pretrained"
        )


def _embedded() -> str:
    return "".join(f"{name!r}, " for name in names.installed())


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
    name = names.short_name(str(bridge.cfg.model_name or "bridge"))
    return Found(bridge, tokenizer, name, _architecture(bridge.original_model.config))


def _from_object(
    model: nn.Module, tokenizer: Any, device: Any, dtype: torch.dtype | None, boot: dict[str, Any]
) -> Found:
    config: Any = getattr(model, "config", None)
    if config is None:
        raise FactvizError(f"{type(model).__name__} is no transformers model: it has no config")
    architecture = type(model).__name__
    origin = str(getattr(config, "_name_or_path", "") or "")
    tokenizer = tokenizer or _local_tokenizer(origin, architecture)
    _refuse_other_kinds(config, architecture)
    # Bridging replaces modules in place: the user's model stays as it is.
    ours: Any = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
    ours.config.architectures = [architecture]  # a model made from a config may lack it
    held = next(ours.parameters())
    options = {"device": str(held.device), "dtype": held.dtype, **boot}
    name = names.short_name(origin) if origin else architecture
    plain = _probed(ours, architecture)
    bridge = _boot(name, tokenizer, config, {"hf_model": ours, **options}, architecture)
    repairs.check_same(bridge.original_model, plain, architecture)
    return Found(bridge, tokenizer, name, architecture)


def _probed(model: nn.Module, architecture: str) -> Any:
    """What the plain model gives; a model that gives no logits is none of ours."""
    try:
        return repairs.probe_logits(model)
    except (AttributeError, TypeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise FactvizError(
            f"{architecture} can't be decomposed: it gives no logits of a next token; load it with "
            f"AutoModelForCausalLM ({names.reason(error)})"
        ) from None


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
            if folder is not None:
                names.check_tokenizer(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **common, **versions)
        loader = _SafeLoader(options.pop("model_class", None), common["local_files_only"])
        options = {"model_class": loader, "trust_remote_code": trust_remote_code, **options}
        bridge = _boot(where, tokenizer, config, options, architecture)
        if loader.plain is not None:
            repairs.check_same(bridge.original_model, loader.plain, architecture)
    bridge.cfg.model_name = name
    bridge.original_model.eval()
    bridge.original_model.config.output_attentions = False  # one layer's pattern at a time
    return Found(bridge, tokenizer, name, architecture, names.training_of(folder))


class _SafeLoader:
    """Stands where the bridge expects a model class, and allows safetensors only."""

    def __init__(self, chosen: Any, local: bool) -> None:
        self.chosen = chosen or transformers.AutoModelForCausalLM
        self.local = local
        self.plain: Any = None

    def from_pretrained(self, name: str, **options: Any) -> Any:
        options |= {"use_safetensors": True, "local_files_only": self.local}
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # named below
        try:
            loaded: Any = self.chosen.from_pretrained(name, **options)
        except Exception as error:
            raise FactvizError(names.what_failed(name, self.local, error)) from None
        model, info = loaded
        checkpoints.check_complete(model, info, name)
        self.plain = _probed(model, type(model).__name__)
        return model

    def from_config(self, config: Any, **options: Any) -> Any:
        return self.chosen.from_config(config, **options)


def _boot(
    name: str, tokenizer: Any, config: Any, options: dict[str, Any], architecture: str
) -> Any:
    """Bridge a model; what TransformerLens can't bridge is refused in one line."""
    # The bridge changes the tokenizer it is given, and fetches another by its name (over the
    # network too) unless that one claims to add BOS. factviz feeds ids, BOS in front already.
    twin = copy.deepcopy(tokenizer)
    twin.init_kwargs["add_bos_token"] = True
    twin.init_kwargs.setdefault("name_or_path", name)
    options = {"tokenizer": twin, **options}
    if overrides := repairs.boot_overrides(config) | (
        options.pop("hf_config_overrides", None) or {}
    ):
        options["hf_config_overrides"] = overrides
    try:
        bridge = TransformerBridge.boot_transformers(name, **options)
    except (OSError, FactvizError):
        raise
    except Exception as error:
        raise FactvizError(
            f"{architecture} can't be decomposed: TransformerLens does not bridge it "
            f"({names.reason(error)})"
        ) from None
    repairs.repair(bridge)
    return bridge


def _architecture(config: Any) -> str:
    named = getattr(config, "architectures", None)
    kind = named[0] if named else getattr(config, "model_type", type(config).__name__)
    return names.visible(str(kind))


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
def _one_line(where: str) -> Generator[None]:
    """Loading errors as one line that names the model."""
    try:
        yield
    except FactvizError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise FactvizError(names.what_failed(where, Path(where).is_dir(), error)) from None


@contextmanager
def _quiet(wanted: bool) -> Generator[None]:
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
