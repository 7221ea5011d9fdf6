"""Run variants of a prompt: prepared, then completed chunk by chunk under a memory budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.clean_runs import CleanRun
from factviz.models.factmodel import FactModel
from factviz.models.interventions import BlockAttention, Keep, Variant
from factviz.models.plans import Plan, make_keep, make_plan, named
from factviz.models.proofs import proven
from factviz.models.shared_prefix import ChangedRuns

_MEMORY = 512 * 2**20
# Rows see each other's keys only to be masked: beyond this, that costs more than it saves.
_ROWS = 512


class Runs:
    """The runs of one prompt: the clean one, and one per variant; made by `prepare` or `run`.

    Rows are filled chunk by chunk, in the order of the variants. After an interrupt the first
    `done` rows stand, the others are NaN, and `complete` goes on from there.

    Attributes
    ----------
    ids : tuple of int
        The prompt's tokens, with BOS.
    variants : tuple
    logits : [variant, vocab], or [variant, token] if ``tokens`` were chosen
        At END, in logits, after a soft-cap.
    log_total : [variant]
        The log of the sum of exp(logit) over the whole vocabulary.
    clean_kept, kept : [keep] of [layer, position, width] and [variant, layer, position, width]
        What ``keep`` asked for.
    shared : bool
        Whether the variants shared the clean run's keys and values.
    reason : str
        Why not, if not; else "".
    done : int
        Finished variants.
    """

    def __init__(
        self,
        clean: CleanRun,
        ids: tuple[int, ...],
        variants: tuple[Variant, ...],
        plans: list[Plan],
        *,
        reason: str,
        tokens: Sequence[int] | None,
        memory: int,
    ) -> None:
        self.ids, self.variants = ids, variants
        self.reason = reason
        self.done = 0
        self.tokens = None if tokens is None else tuple(tokens)
        self._clean, self._plans, self._memory = clean, plans, memory
        self.clean_kept = clean.kept
        width = clean.model.d_vocab if tokens is None else len(tokens)
        self.logits = clean.states[0].new_full((len(variants), width), torch.nan)
        self.log_total = clean.states[0].new_full((len(variants),), torch.nan)
        self.kept = [k.new_full((len(variants), *k.shape), torch.nan) for k in clean.kept]

    @property
    @torch.inference_mode()
    def clean_logits(self) -> Float[Tensor, " vocab"]:
        """At END, of the unchanged run, in logits."""
        return self._clean.logits

    @property
    def shared(self) -> bool:
        """Whether the variants share the clean run's keys and values."""
        return not self.reason

    @property
    def model(self) -> FactModel:
        """The model that runs."""
        return self._clean.model

    @property
    def top(self) -> int:
        """The token that the clean run finds most probable."""
        return int(self.clean_logits.argmax())

    def clean_probability(self, token: int) -> float:
        """The probability of a token at END in the clean run."""
        return float((self.clean_logits[token] - self.clean_logits.logsumexp(-1)).exp())

    def probability(self, token: int) -> Float[Tensor, " variant"]:
        """The probability of a token at END in every variant; NaN where none has run yet.

        Raises
        ------
        FactvizError
            If the logits of that token were not kept.
        """
        column = token
        if self.tokens is not None:
            if token not in self.tokens:
                raise FactvizError(f"token {token} is not among the kept {list(self.tokens)}")
            column = self.tokens.index(token)
        return (self.logits[:, column] - self.log_total).exp()

    @torch.inference_mode()
    def complete(self) -> Runs:
        """Run the variants that have not run yet; returns itself.

        Raises
        ------
        FactvizError
            If an intervention changed nothing (and that is not allowed), or a result is NaN.
        """
        while self.done < len(self.variants):
            chunk = range(self.done, self._chunk_end(self.done))
            with self.model.lock:
                runs = ChangedRuns(self._clean, [self._plans[i] for i in chunk], share=self.shared)
                logits = runs.logits()
            self._check(chunk, runs, logits)
            self._store(chunk, runs, logits)
            if self.done == len(self.variants):
                self._clean.release()
        return self

    def _store(self, chunk: range, runs: ChangedRuns, logits: Tensor) -> None:
        rows = slice(chunk.start, chunk.stop)
        self.log_total[rows] = logits.logsumexp(-1)
        self.logits[rows] = logits if self.tokens is None else logits[:, list(self.tokens)]
        for whole, part in zip(self.kept, runs.kept, strict=True):
            whole[rows] = part
        self.done = chunk.stop

    def _check(self, chunk: range, runs: ChangedRuns, logits: Tensor) -> None:
        changes = runs.changes()
        for i in chunk:
            plan = self._plans[i]
            asked = {edit.number for edits in plan.edits.values() for edit in edits}
            still = sorted(n for n in asked if (i - chunk.start, n) not in changes)
            if still and not plan.allow_idle:
                raise _idle(i, self.variants[i][still[0]])
        if not bool(logits.isfinite().all()):
            bad = chunk.start + int((~logits.isfinite().all(-1)).nonzero()[0])
            raise FactvizError(f"variant {bad} gives NaN or infinite logits: check its values")

    def _chunk_end(self, start: int) -> int:
        rows, end = 0, start
        budget = min(_ROWS, self._memory // self._row_bytes())
        while end < len(self.variants):
            plan = self._plans[end]
            rows += self._clean.length - (plan.first if self.shared else 0)
            if end > start and rows > budget:
                break
            end += 1
        return end

    def _row_bytes(self) -> int:
        """About what one row takes at once: attention scores, the MLP's activations, logits."""
        model = self.model
        seen = self._clean.length + (_ROWS if self.shared else 0)
        kept = sum(k.numel() for k in self.clean_kept)
        numbers = 3 * model.n_heads * seen + 16 * model.d_model + 3 * model.d_vocab + kept
        return max(1, numbers * self.logits.element_size())


def prepare(
    model: FactModel,
    prompt: Fact | str | Sequence[int],
    variants: Iterable[Variant],
    *,
    keep: Sequence[Keep] = (),
    tokens: Sequence[int] | None = None,
    allow_idle: bool = False,
    share: bool = True,
    memory: int = _MEMORY,
) -> Runs:
    """Run a prompt unchanged, and make its variants ready for `Runs.complete`.

    Parameters
    ----------
    model : FactModel
    prompt : Fact, str or sequence of int
        Token ids are taken as they are (no BOS is added).
    variants : iterable of sequences of interventions
        One run each; see `factviz.models.interventions`.
    keep : sequence of Keep
        Tensors to record in the clean run and in every variant.
    tokens : sequence of int, optional
        Keep only these logits.
    allow_idle : bool
        Let pass what changes nothing (blocking the future or nothing, an equal value, an empty
        variant); otherwise it is an error.
    share : bool
        Share the clean run's keys and values, where the model allows it; False runs whole prompts.
    memory : int
        Bytes that a chunk of variants may take, roughly.

    Returns
    -------
    Runs
        With the clean run done, and no variant.

    Raises
    ------
    FactvizError
        If a layer, head or position does not exist, a value does not fit, an intervention can
        change nothing, the prompt is empty or too long, or its logits are NaN.
    """
    ids = _ids(model, prompt)
    asked = tuple(tuple(variant) for variant in variants)
    if tokens is not None:
        _check_tokens(model, tokens)
    with torch.inference_mode(), model.lock:
        proof = proven(model, ids)
        kept = [make_keep(one, model.n_layers, len(ids)) for one in keep]
        clean = CleanRun(model, ids, kept, proof.attention)
        reason = proof.reason if share else "asked for"
        extent = clean.extent
        plans = [make_plan(variant, extent) for variant in asked]
    for number, (variant, plan) in enumerate(zip(asked, plans, strict=True)):
        plan.allow_idle = allow_idle
        if not allow_idle and (plan.idle or not variant):
            raise _idle(number, variant[plan.idle[0]] if variant else None)
    return Runs(clean, ids, asked, plans, reason=reason, tokens=tokens, memory=memory)


def run(
    model: FactModel,
    prompt: Fact | str | Sequence[int],
    variants: Iterable[Variant],
    *,
    keep: Sequence[Keep] = (),
    tokens: Sequence[int] | None = None,
    allow_idle: bool = False,
    share: bool = True,
    memory: int = _MEMORY,
) -> Runs:
    """Run a prompt unchanged and with each variant; `prepare`, then `Runs.complete`.

    Arguments, result and errors are those of `prepare`.
    """
    return prepare(
        model,
        prompt,
        variants,
        keep=keep,
        tokens=tokens,
        allow_idle=allow_idle,
        share=share,
        memory=memory,
    ).complete()


def _ids(model: FactModel, prompt: Fact | str | Sequence[int]) -> tuple[int, ...]:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise FactvizError(f"the prompt is empty ({prompt!r}): give some text")
        prompt = Fact(prompt, subject=prompt.rstrip(), answer="?")
    if isinstance(prompt, Fact):
        return tuple(model.tokenize(prompt).ids)
    ids = tuple(int(token) for token in prompt)
    if not ids:
        raise FactvizError("the prompt has no tokens: give at least one")
    if model.max_length is not None and len(ids) > model.max_length:
        raise FactvizError(
            f"the prompt has {len(ids)} tokens; {model.name} reads {model.max_length}"
        )
    _check_tokens(model, ids)
    return ids


def _check_tokens(model: FactModel, tokens: Sequence[int]) -> None:
    for token in tokens:
        if not 0 <= token < model.d_vocab:
            raise FactvizError(
                f"token {token} is not in the vocabulary of {model.d_vocab} tokens (from 0 on)"
            )


def _idle(number: int, asked: object) -> FactvizError:
    if asked is None:
        return FactvizError(f"variant {number} is empty: allow_idle=True lets it pass")
    why = (
        "blocks no edge that exists (nothing, or the future)"
        if isinstance(asked, BlockAttention)
        else "left every tensor as it was"
    )
    return FactvizError(
        f"variant {number}: {named(asked)} {why}, so it can't have an effect: "  # type: ignore[arg-type]
        "allow_idle=True lets it pass"
    )
