"""What a normalisation module does, as a gain, a bias, and whether it takes the mean out.

``y = gain ⊙ (x − mean) / scale + bias`` for a LayerNorm; without mean and bias for an RMSNorm. With
the scale frozen to that of the real run this is linear, so a direction read after the norm can be
pulled back to one read before it. Families differ in how they write it (Gemma's gain is 1 + w, some
have no parameters), so the module is asked: it is run on two known inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_CLOSE = 0.05


@dataclass(frozen=True)
class Norm:
    """A normalisation with its scale left out: gain and bias [d_model], centred for LayerNorm."""

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None
    centred: bool

    def pull_back(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """Directions before the norm that read what ``directions`` read after it, times the scale.

        The bias's share is `constant`, not in here.
        """
        pulled = directions * self.gain.to(directions.dtype)
        return pulled - pulled.mean(-1, keepdim=True) if self.centred else pulled

    def push(self, states: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """What becomes of states behind the norm, times the scale and without the bias."""
        pushed = states - states.mean(-1, keepdim=True) if self.centred else states
        return pushed * self.gain.to(states.dtype)

    def constant(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """What the norm's bias adds along each direction, logits per unit of direction."""
        if self.bias is None:
            return directions.new_zeros(len(directions))
        return directions @ self.bias.to(directions.dtype)

    def scale(
        self, before: Float[Tensor, "fact d_model"], after: Float[Tensor, "fact d_model"]
    ) -> Float[Tensor, " fact"]:
        """The scale of a real run, from what went in and what came out.

        Fitted rather than recomputed: no family's epsilon has to be known.
        """
        x, y = before.double(), after.double()
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        if self.bias is not None:
            y = y - self.bias.double()
        x = x * self.gain.double()
        return ((x * x).sum(-1) / (x * y).sum(-1)).to(_working(before.dtype))


def _working(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def read_norm(module: nn.Module, width: int) -> Norm:
    """Ask a norm module for its gain, bias and centring.

    Parameters
    ----------
    module
        The model's own module (not the bridge's wrapper, whose hooks would fire).
    width
        d_model.

    Raises
    ------
    ValueError
        If the module is no such map (its gain is neither w nor 1 + w of its weight).
    """
    probe = _probe(width, module)
    bias = module(torch.zeros_like(probe))
    slope = (module(probe) - bias) / probe
    # A shift by a constant vector changes nothing for a LayerNorm alone.
    centred = bool(((module(torch.ones_like(probe)) - bias).abs() < _CLOSE * slope.abs()).all())
    gain = _gain(module, slope)
    return Norm(gain, bias if bool(bias.any()) else None, centred)


def _probe(width: int, module: nn.Module) -> Float[Tensor, " d_model"]:
    """A vector of mean 0 and variance 1 without small entries, where the module's weights are."""
    held = next(iter(module.parameters()), torch.zeros(()))
    sign = torch.ones(width, dtype=torch.float64)
    sign[1::2] = -1
    ramp = sign * torch.linspace(1, 1.5, width, dtype=torch.float64)
    ramp = ramp - ramp.mean()
    return (ramp / ramp.std(correction=0)).to(held)


def _gain(module: nn.Module, slope: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """The gain as the parameter has it; the probed slope, rounded, only says which form it is."""
    weight = getattr(module, "weight", None)
    for candidate in (weight, None if weight is None else 1 + weight, torch.ones_like(slope)):
        if candidate is not None and torch.allclose(candidate, slope, rtol=_CLOSE, atol=_CLOSE):
            return candidate.detach()
    raise ValueError(f"{type(module).__name__} is not a layer norm with gain w or 1 + w")
