"""Residual states, sublayer updates and neurons of one forward pass, at chosen positions.

A state is numbered by the block behind it: −1 is the embedding, *l* what block *l* leaves. An
update is what is added to the residual stream: behind post-norms and times the family's residual
multiplier, so that state *l* − 1 plus both updates of block *l* is state *l*, in parallel blocks
too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.geometry import Layer, refusal
from factviz.models.recording import end_logits, evaluating, hooks

_BATCH_TOKENS = 4096

Place = tuple[nn.Module, str, Callable[..., Any]]


@dataclass(frozen=True)
class States:
    """What one pass over prompts left at chosen positions; made by `record_states`.

    Rows are padded on the right to the most positions that a prompt has.

    Attributes
    ----------
    residual : [fact, state, position, d_model]
        State 0 is the embedding (layer −1), state l + 1 what block l leaves.
    mask : [fact, position]
        Which positions were asked for; the others repeat END.
    logits : [fact, vocab]
        At END, before a final soft-cap.
    attention, mlp : [fact, layer, position, d_model] or None
        The updates, where they were asked for.
    neurons : [fact, layer, position, neuron] or None
        What enters each MLP's output map.
    mlp_scale : [fact, layer, position] or None
        The frozen scale of the norm behind each MLP; 1 where there is none. Comes with ``neurons``.
    heads : [fact, layer, position, width] or None
        What enters each attention's output map W_O: all heads' readings side by side.
    """

    residual: Float[Tensor, "fact state position d_model"] = field(repr=False)
    mask: Bool[Tensor, "fact position"]
    logits: Float[Tensor, "fact vocab"] = field(repr=False)
    attention: Float[Tensor, "fact layer position d_model"] | None = field(repr=False)
    mlp: Float[Tensor, "fact layer position d_model"] | None = field(repr=False)
    neurons: Float[Tensor, "fact layer position neuron"] | None = field(repr=False)
    mlp_scale: Float[Tensor, "fact layer position"] | None = field(repr=False)
    heads: Float[Tensor, "fact layer position width"] | None = field(repr=False)


def plain(module: Any) -> Any:
    """The model's own module behind the bridge's, whose hooks would fire."""
    return getattr(module, "original_component", None) or module


def output_map(model: FactModel, layer: int) -> nn.Module:
    """The linear map from an MLP's neurons to its output.

    Raises
    ------
    FactvizError
        If the MLP has none that can be told apart (a mixture of experts).
    """
    block: Any = model.geometry.layers[layer].block
    inner = block._modules["mlp"]._modules.get("out")
    if inner is None or not hasattr(plain(inner), "weight"):
        raise refusal(model.architecture, f"layer {layer} has no output map of its neurons")
    return inner


def input_embedding(model: FactModel) -> Float[Tensor, "vocab d_model"]:
    """The rows of the input embedding as stored: no positions, no multiplier, no norm.

    Raises
    ------
    FactvizError
        If they are not as wide as the residual stream.
    """
    module = plain(model.network.get_input_embeddings())  # pyright: ignore[reportCallIssue]
    weight = module.weight.detach()
    if weight.shape[1] != model.d_model:
        raise refusal(
            model.architecture,
            f"its embeddings have {weight.shape[1]} dimensions, its residual stream "
            f"{model.d_model}",
        )
    return weight


def batches(lengths: Sequence[int], most: int = _BATCH_TOKENS) -> Generator[list[int]]:
    """Runs of neighbouring prompts whose padded size stays below ``most`` tokens."""
    batch: list[int] = []
    longest = 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if batch and longest * (len(batch) + 1) > most:
            yield batch
            batch, longest = [], length
        batch.append(index)
    yield batch


@torch.inference_mode()
def record_states(
    model: FactModel,
    rows: Sequence[Sequence[int]],
    positions: Sequence[Sequence[int]] | None = None,
    *,
    updates: bool = False,
    neurons: bool = False,
    heads: bool = False,
) -> States:
    """Run prompts once and keep what stands at some positions of each.

    Parameters
    ----------
    model : FactModel
    rows : [fact] of token ids
        BOS included; they may differ in length.
    positions : [fact] of positions, optional
        All positions without it.
    updates : bool
        Keep attention and MLP updates too.
    neurons : bool
        Keep the neurons' activations too.
    heads : bool
        Keep the heads' readings too.

    Raises
    ------
    FactvizError
        If a position lies outside its prompt, states are not finite, or the model hides them.
    """
    chosen = [range(len(row)) for row in rows] if positions is None else positions
    _check_positions(rows, chosen)
    width = max(map(len, chosen))
    parts: list[States] = []
    for batch in batches([len(row) for row in rows]):
        ids, ends = model.padded([rows[i] for i in batch])
        at, mask = _padded_positions([chosen[i] for i in batch], ends, width)
        run = _Run(model, (torch.arange(len(batch), device=ids.device)[:, None], at), ids.shape[1])
        wanted = {"updates": updates, "neurons": neurons, "heads": heads}
        parts.append(run.states(ids, ends, mask, **wanted))
    found = _joined(parts)
    _check_finite(model, found)
    return found


def _check_positions(rows: Sequence[Sequence[int]], chosen: Sequence[Sequence[int]]) -> None:
    for fact, (row, some) in enumerate(zip(rows, chosen, strict=True)):
        for position in some:
            if not 0 <= position < len(row):
                raise FactvizError(
                    f"position {position} is not in prompt {fact}, which has 0 to {len(row) - 1}"
                )


def _padded_positions(
    chosen: Sequence[Sequence[int]], ends: Int[Tensor, " fact"], width: int
) -> tuple[Int[Tensor, "fact position"], Bool[Tensor, "fact position"]]:
    at = ends[:, None].repeat(1, max(1, width))
    mask = torch.zeros_like(at, dtype=torch.bool)
    for row, some in enumerate(chosen):
        at[row, : len(some)] = torch.tensor(list(some), dtype=torch.long, device=at.device)
        mask[row, : len(some)] = True
    return at, mask


class _Run:
    """The hooks of one batch and what they catch, at ``at`` (fact indices, positions)."""

    def __init__(self, model: FactModel, at: tuple[Tensor, Tensor], length: int) -> None:
        self.model, self.at, self.length = model, at, length
        self.kept: dict[str, dict[int, Tensor]] = {}

    def keep(self, name: str, index: int, *, before: bool = False) -> Callable[..., None]:
        """A hook that keeps a module's output (or input) at the chosen positions."""
        held = self.kept.setdefault(name, {})

        def caught(_: nn.Module, args: Any, output: Any) -> None:
            if before:  # a pre-hook gets keyword arguments where the other gets the output
                found = args[0] if args else output["hidden_states"]
            else:
                found = output[0] if isinstance(output, tuple) else output
            # OPT flattens facts and positions on the way through its MLP.
            held[index] = found.reshape(len(self.at[0]), self.length, -1)[self.at]

        return caught

    def places(self, *, updates: bool, neurons: bool, heads: bool) -> list[Place]:
        """Where the hooks go."""
        geometry = self.model.geometry
        found: list[Place] = [
            (layer.block, "before", self.keep("residual", index, before=True))
            for index, layer in enumerate(geometry.layers)
        ]
        last = self.keep("residual", len(geometry.layers), before=True)
        found.append((geometry.final_norm, "before", last))
        found.append((geometry.unembed, "after", self._raw))
        for index, layer in enumerate(geometry.layers):
            if updates:
                found += self._updates(index, layer)
            if neurons:
                found += self._neurons(index, layer)
            if heads:
                found.append((layer.output, "before", self.keep("heads", index, before=True)))
        return found

    def _raw(self, _: nn.Module, _args: Any, output: Tensor) -> None:
        self.kept["raw"] = {0: output[:, -1]}

    def _updates(self, index: int, layer: Layer) -> list[Place]:
        # The output map and not the attention module: Bloom's adds the residual itself.
        attention = layer.attention_post or layer.output
        return [
            (attention, "after", self.keep("attention", index)),
            (layer.mlp, "after", self.keep("mlp", index)),
        ]

    def _neurons(self, index: int, layer: Layer) -> list[Place]:
        out = output_map(self.model, index)
        found: list[Place] = [(out, "before", self.keep("neurons", index, before=True))]
        if (norm := mlp_norm(layer)) is not None:
            found.append((norm, "before", self.keep("norm_in", index, before=True)))
            found.append((norm, "after", self.keep("norm_out", index)))
        return found

    def states(
        self,
        ids: Int[Tensor, "fact position"],
        ends: Int[Tensor, " fact"],
        mask: Bool[Tensor, "fact position"],
        **wanted: bool,
    ) -> States:
        """Run the batch."""
        model = self.model
        rows = (self.at[0][:, 0], ends)
        places = [*self.places(**wanted), end_logits(model.geometry, rows)]
        with model.lock, hooks(*places), evaluating(model.network):
            # A mask of ones: padding is on the right, and causal attention does not see it.
            model.network(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        multiplier = model.geometry.residual_multiplier
        return States(
            residual=self._stacked("residual"),
            mask=mask,
            logits=self.kept["raw"][0] * model.geometry.logit_multiplier,
            attention=self._stacked("attention") * multiplier if wanted["updates"] else None,
            mlp=self._stacked("mlp") * multiplier if wanted["updates"] else None,
            neurons=self._stacked("neurons") if wanted["neurons"] else None,
            mlp_scale=self._scales() if wanted["neurons"] else None,
            heads=self._stacked("heads") if wanted["heads"] else None,
        )

    def _stacked(self, name: str) -> Float[Tensor, "fact layer position d"]:
        held = self.kept[name]
        expected = self.model.n_layers + (name == "residual")
        if len(held) != expected:
            missing = min(set(range(expected)) - held.keys())
            raise refusal(self.model.architecture, f"layer {missing} does not show its {name}")
        return torch.stack([held[index] for index in range(expected)], 1)

    def _scales(self) -> Float[Tensor, "fact layer position"]:
        seen, given = self.kept.get("norm_in", {}), self.kept.get("norm_out", {})
        neurons = self.kept["neurons"]
        scales = [torch.ones_like(neurons[0][..., 0]) for _ in self.model.geometry.layers]
        for index in given:
            norm = self.model.geometry.norm(self.model.geometry.layers[index].mlp)
            scales[index] = norm.scale(seen[index], given[index]).to(scales[index])
        return torch.stack(scales, 1)


def mlp_norm(layer: Layer) -> nn.Module | None:
    """The norm behind an MLP, where the geometry's MLP write is one and not the MLP itself."""
    block: Any = layer.block
    return layer.mlp if layer.mlp is block._modules.get("ln2_post") else None


def _joined(parts: Sequence[States]) -> States:
    names = ("residual", "mask", "logits", "attention", "mlp", "neurons", "mlp_scale", "heads")
    held = {name: [getattr(part, name) for part in parts] for name in names}
    found: dict[str, Any] = {k: None if v[0] is None else torch.cat(v) for k, v in held.items()}
    return States(**found)


def _check_finite(model: FactModel, found: States) -> None:
    bad = ~found.residual.isfinite().flatten(1).all(1) | ~found.logits.isfinite().all(1)
    if bool(bad.any()):
        raise FactvizError(
            f"{model.name} gives states that are not finite (NaN or infinity) for prompt "
            f"{int(bad.nonzero()[0, 0])}: load it with dtype='float32'"
        )
