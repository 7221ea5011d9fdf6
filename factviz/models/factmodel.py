"""A loaded model: its bridge, its tokenizer, its BOS convention, and one lock for its runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import Encoded, PromptTokens, encode_prompts, tokenize_prompt
from factviz.models import fingerprint, names
from factviz.models.geometry import Geometry, linear_bias, linear_weight, vocabulary_mean
from factviz.models.recording import Record, logits_at_end, record

_ROWS = 128


class FactModel:
    """A decoder that factviz can ask; made by `load_model`.

    Attributes
    ----------
    bridge
        The TransformerBridge around the model.
    tokenizer
        The model's own (fast) tokenizer.
    name : str
        Hub name or folder name; never a local path.
    bos_id : int or None
        The token put in front of every prompt; None where the convention is none.
    max_length : int or None
        The model's context, in tokens with BOS.
    training : dict
        Of an embedded model: recipe, seed, step, and the hash of what it was trained on.
    n_layers, n_heads, d_model, d_vocab : int
    device, dtype
    lock
        Held during every run: hooks belong to one run at a time.
    """

    def __init__(
        self,
        bridge: Any,
        geometry: Geometry,
        tokenizer: Any,
        *,
        name: str,
        architecture: str,
        bos_id: int | None,
        max_length: int | None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.bridge = bridge
        self.geometry = geometry
        self.tokenizer = tokenizer
        self.name = name
        self.architecture = architecture
        self.bos_id = bos_id
        self.max_length = max_length
        self.training = dict(training or {})
        self.lock = threading.RLock()
        self._fingerprint = fingerprint.Fingerprint(self.network)
        self._mean: tuple[Any, Tensor] | None = None

    @property
    def network(self) -> nn.Module:
        """The module whose forward pass is the model's own."""
        return self.bridge.original_model

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.geometry.layers)

    @property
    def n_heads(self) -> int:
        """Attention heads of a layer."""
        return self.geometry.n_heads

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.geometry.width

    @property
    def d_vocab(self) -> int:
        """Number of logits."""
        return self.unembedding[0].shape[0]

    @property
    def unembedding(self) -> tuple[Float[Tensor, "vocab d_model"], Float[Tensor, " vocab"] | None]:
        """W_U, transposed, and b_U, if there is one: as they are now, not folded."""
        return linear_weight(self.geometry.unembed), linear_bias(self.geometry.unembed)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.unembedding[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the model takes its input."""
        network: Any = self.network
        return network.get_input_embeddings().weight.device

    @property
    def weight_hash(self) -> str:
        """SHA-256 over all parameters; computed when first asked for, and after a change."""
        return self._fingerprint.value()

    @torch.inference_mode()
    def mean_unembedding(self, dtype: torch.dtype) -> Float[Tensor, " d_model"]:
        """The vocabulary mean of W_U [d_model], computed once for the weights as they are."""
        weight = self.unembedding[0]
        key = (fingerprint.state(weight), dtype)
        if self._mean is None or self._mean[0] != key:
            self._mean = (key, vocabulary_mean(weight, dtype))
        return self._mean[1]

    def tokenize(self, fact: Fact) -> PromptTokens:
        """A fact's prompt as this model reads it, with its BOS convention and context."""
        return self.tokenize_all([fact])[0]

    def tokenize_all(self, facts: Sequence[Fact]) -> list[PromptTokens]:
        """The prompts of many facts, cut in one go."""
        encoded = encode_prompts(self.tokenizer, facts)
        return [self._tokens(fact, one) for fact, one in zip(facts, encoded, strict=True)]

    def _tokens(self, fact: Fact, encoded: Encoded) -> PromptTokens:
        tokens = tokenize_prompt(
            self.tokenizer,
            fact,
            bos_id=self.bos_id,
            max_length=self.max_length,
            encoded=encoded,
        )
        network: Any = self.network
        size = network.get_input_embeddings().weight.shape[0]
        if max(tokens.ids) >= size:
            raise FactvizError(
                f"token {max(tokens.ids)} of prompt {fact.prompt[:60]!r} is none of the {size} "
                f"that {names.visible(self.name)} embeds: is this its tokenizer? Pass tokenizer="
            )
        return tokens

    def padded(
        self, rows: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "fact position"], Int[Tensor, " fact"]]:
        """Token ids padded on the right, and each row's END."""
        tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
        ids = nn.utils.rnn.pad_sequence(tensors, batch_first=True)
        ends = torch.tensor([len(row) - 1 for row in rows])
        return ids.to(self.device), ends.to(self.device)

    @torch.inference_mode()
    def record(
        self,
        rows: Sequence[Sequence[int]],
        blocked: Bool[Tensor, "fact query key"] | None = None,
    ) -> Record:
        """One forward pass over prompts of any lengths; what END needs is kept."""
        with self.lock:
            return record(self.network, self.geometry, *self.padded(rows), blocked)

    @torch.inference_mode()
    def predict(self, prompt: str | Fact, k: int = 10) -> pd.DataFrame:
        """The next tokens this model finds most probable.

        Parameters
        ----------
        prompt : str or Fact
        k : int
            How many.

        Returns
        -------
        DataFrame
            token, token_id, logit (the model's own), probability; most probable first.

        Raises
        ------
        FactvizError
            If the prompt is no text, empty or too long, or k is no whole number from 1 on.
        """
        if not isinstance(k, Integral) or k < 1:
            raise FactvizError(
                f"k={k!r} predictions cannot be shown: ask for a whole number, 1 or more"
            )
        ids = self.tokenize(_as_fact(prompt)).ids
        with self.lock:
            logits = logits_at_end(self.network, self.geometry, *self.padded([ids]))[0]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        best = logits.topk(min(int(k), len(logits)))
        return pd.DataFrame(
            {
                "token": [self.tokenizer.decode([i]) for i in best.indices.tolist()],
                "token_id": best.indices.tolist(),
                "logit": best.values.tolist(),
                "probability": logits.softmax(-1)[best.indices].tolist(),
            }
        )

    @torch.inference_mode()
    def end_logits(self, facts: Sequence[Fact]) -> Iterator[tuple[list[int], Tensor]]:
        """The model's own logits at END, in batches of prompts of like length.

        Yields
        ------
        rows, logits
            Which facts these are, and their logits [fact, vocab].
        """
        ids = [self.tokenize(fact).ids for fact in facts]
        order = sorted(range(len(ids)), key=lambda fact: len(ids[fact]))
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            with self.lock:
                padded = self.padded([ids[fact] for fact in rows])
                logits = logits_at_end(self.network, self.geometry, *padded)
            yield rows, logits

    def top_ids(self, facts: Sequence[Fact], k: int) -> list[list[int]]:
        """The ``k`` most probable next tokens of each fact's prompt, best first."""
        found: dict[int, list[int]] = {}
        for rows, logits in self.end_logits(facts):
            best = logits.topk(min(k, logits.shape[-1])).indices.tolist()
            found.update(zip(rows, best, strict=True))
        return [found[fact] for fact in range(len(facts))]

    def __repr__(self) -> str:
        return (
            f"FactModel {names.visible(self.name)}: {self.architecture}, {self.n_layers} layers × "
            f"{self.n_heads} heads, d_model {self.d_model}, {str(self.dtype).split('.')[-1]} "
            f"on {self.device}"
        )


def check_model(model: Any) -> None:
    """Refuse what is no model of factviz's, the name of one for instance."""
    if not isinstance(model, FactModel):
        raise FactvizError(f"the model is {str(model)[:80]!r}: give what load_model gives")


def _as_fact(prompt: Any) -> Fact:
    """A prompt alone has no subject: the whole of it stands in."""
    if isinstance(prompt, Fact):
        return prompt
    if not isinstance(prompt, str):
        raise FactvizError(f"the prompt is {prompt!r}: give a text or a Fact")
    if not prompt.strip():
        raise FactvizError(f"the prompt is empty ({prompt!r}): give some text")
    return Fact(prompt, subject=prompt.rstrip(), answer="?")
