"""Subject heads extract a subject's attributes whatever the prompt asks for (P1 point 6)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from factviz.analysis.class_effects import class_sets
from factviz.analysis.components import Named, component_sets, heads_only
from factviz.analysis.grouped import GROUPS, answer_ranks, chunks
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.known import known_rows, unknown_note
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance, texts
from factviz.analysis.writes import Owners, head_writes, vocabulary_logits
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.tokens import Memo, attribute_tokens
from factviz.models.factmodel import FactModel
from factviz.models.traced import trace
from factviz.results.head_classes import HeadClasses
from factviz.results.misfires import Misfires

OTHERS = 16  # other subjects' attributes behind each control


@torch.inference_mode()
def find_misfires(
    model: FactModel,
    facts: Iterable[Fact],
    heads: HeadClasses | Named | Iterable[Named],
    *,
    seed: int = 0,
) -> Misfires:
    """What heads extract from the subject on prompts of one relation, of all its relations.

    A subject head still extracts what the prompt does not ask for: read from subject tokens, it
    lifts the subject's attribute of an unrelated relation over other subjects' attributes of that
    relation (the control).

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        With relations; the subjects' attributes are the answers of these facts. Those whose answer
        is not in the model's top 10 are left out, and counted.
    heads
        Head classes (their subject heads), or heads as `ablate` takes them.
    seed : int
        Of the controls.

    Returns
    -------
    Misfires

    Raises
    ------
    FactvizError
        If a head does not exist, there are no subject heads, no subject has facts of two relations,
        or the model knows none of the facts.
    """
    found = as_facts(facts)
    chosen = _heads(model, heads)
    answers = _answers(found)
    if not any(len(own) > 1 for own in answers.values()):
        raise FactvizError(
            "no subject has facts of two relations: a misfire needs an attribute that the prompt "
            "does not ask for; give all facts of the subjects, facts.select(subject=[…])"
        )
    owners = np.full((model.n_layers, model.n_heads, len(GROUPS)), -1)
    for layer, head in chosen:
        owners[layer, head, GROUPS.index("subject")] = 0
    relations = sorted({fact.relation for fact in found})
    reader = _Reader(model, found, answers, relations, seed)
    ranks = reader.read(owners)
    kept = known_rows(found, ranks)
    some = [found[row] for row in kept]
    dims = ("fact", "attribute_relation")
    words = [["/".join(answers[fact.subject].get(name, ())) for name in relations] for fact in some]
    data: dict[str, Any] = {
        name: (dims, values[kept], {"units": "logits"}) for name, values in reader.values.items()
    }
    coords = fact_coordinates(some) | {
        "attribute_relation": np.array(relations, dtype=object),
        "word": (dims, texts(words, len(relations))),
    }
    origin = provenance(
        model,
        [reader.prompts[row] for row in kept],
        kind=Misfires.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="centred logits at END, from subject tokens" + before_cap(model),
        notes=unknown_note(found, kept),
        value_bias="out",
        heads=[f"L{layer}H{head}" for layer, head in chosen],
        control=f"up to {OTHERS} attributes of other subjects under the same relation",
        excluded=len(found) - len(kept),
    )
    return Misfires(xr.Dataset(data, coords=coords, attrs={"single": False}), origin)


def _heads(model: FactModel, heads: HeadClasses | Named | Iterable[Named]) -> list[tuple[int, int]]:
    if isinstance(heads, HeadClasses):
        sets = class_sets(model, heads)
        if "subject heads" not in sets:
            raise FactvizError("there are no subject heads in these classes: name heads, (2, 7)")
        return sorted(sets["subject heads"])
    named = component_sets(model, heads)
    heads_only(named)
    return [(one.layer, one.head) for some in named.values() for one in some]


def _answers(facts: Sequence[Fact]) -> dict[str, dict[str, list[str]]]:
    """The attributes of each subject by relation."""
    found: dict[str, dict[str, list[str]]] = {}
    for fact in facts:
        words = found.setdefault(fact.subject, {}).setdefault(fact.relation, [])
        if fact.answer not in words:
            words.append(fact.answer)
    return found


class _Reader:
    """Reads the heads' subject part of every fact, along all relations' attributes."""

    def __init__(
        self,
        model: FactModel,
        facts: Sequence[Fact],
        answers: Mapping[str, Mapping[str, Sequence[str]]],
        relations: Sequence[str],
        seed: int,
    ) -> None:
        self.model, self.facts, self.answers, self.relations = model, facts, answers, relations
        self.prompts = [model.tokenize(fact) for fact in facts]
        self.seed = seed
        shape = (len(facts), len(relations))
        self.values = {"own": np.full(shape, np.nan), "control": np.full(shape, np.nan)}
        self._memo: Memo = {}
        self._of_relation = {
            name: sorted({w for own in answers.values() for w in own.get(name, ())})
            for name in relations
        }

    def read(self, owners: Owners) -> np.ndarray:
        """Fill the values; gives the rank of every fact's answer."""
        ranks = np.zeros(len(self.facts), dtype=int)
        for batch in chunks(self.model, self.facts, self.prompts):
            traced = trace(
                self.model,
                [self.facts[i] for i in batch],
                tokens=[self.prompts[i] for i in batch],
            )
            writes = head_writes(traced, owners, 1)
            for row, fact in enumerate(batch):
                scale = traced.final_scale[row : row + 1]
                logits = vocabulary_logits(self.model, writes[row], scale)[0].cpu().numpy()
                answer = self._ids(self.facts[fact], [self.facts[fact].answer])
                ranks[fact] = answer_ranks(traced.logits[row : row + 1], answer)[0]
                self._fill(fact, logits)
        return ranks

    def _fill(self, row: int, logits: Float[np.ndarray, " vocab"]) -> None:
        fact = self.facts[row]
        known = self.answers[fact.subject]
        mine = {i for words in known.values() for i in self._ids(fact, words)}
        for column, relation in enumerate(self.relations):
            own = self._ids(fact, known.get(relation, ()))
            if not own:
                continue
            others = [i for i in self._ids(fact, self._of_relation[relation]) if i not in mine]
            self.values["own"][row, column] = logits[own].mean()
            if others:
                rng = np.random.default_rng([self.seed, zlib.crc32(fact.prompt.encode())])
                some = rng.choice(others, min(OTHERS, len(others)), replace=False)
                self.values["control"][row, column] = logits[some].mean()

    def _ids(self, fact: Fact, words: Sequence[str]) -> list[int]:
        """The tokens of words after a prompt; what has none there is left out."""
        found: list[int] = []
        for word in words:
            try:
                token = attribute_tokens(self.model.tokenizer, fact, [word], memo=self._memo)[0]
            except FactvizError:
                continue
            if token.token_id < self.model.d_vocab:
                found.append(token.token_id)
        return list(dict.fromkeys(found))
