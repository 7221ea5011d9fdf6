"""An ordered set of facts, which fills each fact's S and R from the others."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, overload

from factviz.facts import builtin, experiments, readers, shots
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import attribute_tokens

if TYPE_CHECKING:
    import pandas as pd


class Predicts(Protocol):
    """What `FactSet.known` needs of a model."""

    @property
    def tokenizer(self) -> Any:
        """A fast tokenizer."""
        ...

    def top_ids(self, facts: Sequence[Fact], k: int) -> Sequence[Sequence[int]]:
        """The ``k`` most probable next tokens of each fact's prompt, best first."""
        ...


class FactSet(Sequence[Fact]):
    """Facts in order; slices and selections are fact sets too.

    Parameters
    ----------
    facts : iterable of Fact
        Facts without S and R get them from the set: S, the answers of the same subject under
        other relations; R, the answers of the same relation for other subjects.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._facts = _filled(list(facts))

    @classmethod
    @cache  # sets do not change, and this one takes a while to fill
    def builtin(cls, part: str = "facts") -> FactSet:
        """The facts the embedded models were trained on, each in its relation's first wording.

        Parameters
        ----------
        part : str
            "facts": the real-world facts. Or one of the experiments built into the training, see
            `factviz.facts.experiments`: "reversal/both", "reversal/forward only",
            "two-hop/trained", "two-hop/new subject", "two-hop/new country", "numeric", "fiction",
            "conflict/0.9", "conflict/0.7", "lists".

        Raises
        ------
        FactvizError
            If there is no such part.
        """
        if part == "facts":
            return cls(asked(row) for row in builtin.rows() if not row.listed)
        parts = experiments.parts()
        if part not in parts:
            raise FactvizError(
                f"no built-in facts {part!r}; there are 'facts', {', '.join(map(repr, parts))}"
            )
        # S and R come from all real facts too: a part may hold few of a relation.
        whole = list(dict.fromkeys([*parts[part], *builtin.rows()]))
        return cls(map(asked, whole))[: len(parts[part])]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FactSet:
        """Read a file of facts; the format is recognised by its content.

        Parameters
        ----------
        path : path
            CSV with the columns subject and answer and prompt or template (``{subject}`` or
            ``{}``), others optional; a JSON file of LRE, CounterFact or known_1000; or a folder
            of these.

        Raises
        ------
        FactvizError
            If the file is none of these, or a row of it is not a fact; the row is named.
        """
        return cls(readers.read(path))

    def select(
        self,
        *,
        relation: str | Iterable[str] | None = None,
        subject: str | Iterable[str] | None = None,
        answer: str | Iterable[str] | None = None,
    ) -> FactSet:
        """The facts with one of these relations, subjects and answers.

        S and R stay those of the whole set. An empty selection is an error that lists what
        there is.
        """
        kept = self._facts
        for name, wanted in (("relation", relation), ("subject", subject), ("answer", answer)):
            if wanted is not None:
                kept = _matching(kept, name, {wanted} if isinstance(wanted, str) else set(wanted))
        return FactSet(kept)

    def known(self, model: Predicts, top_k: int = 10) -> FactSet:
        """The facts whose answer is among the model's ``top_k`` next tokens.

        A fact counts as known when it is in the top 10 (arXiv 2402.07321).
        """
        if top_k < 1:
            raise FactvizError(f"top_k must be at least 1, not {top_k}")
        answers = [_answer_id(model.tokenizer, fact) for fact in self]
        tops = model.top_ids(self, top_k)
        return FactSet(
            fact for fact, answer, top in zip(self, answers, tops, strict=True) if answer in top
        )

    def with_shots(
        self, count: int, *, among: Iterable[Fact] | None = None, seed: int = 0
    ) -> FactSet:
        """The same facts, each behind so many others of its relation with their answers.

        The others stand in the fact's own template, end in a full stop, are drawn at random and
        have other subjects; S and R stay those of this set.

        Parameters
        ----------
        count : int
            Shots in front of each prompt.
        among : iterable of Fact, optional
            Facts to draw shots from; this set's own without it.
        seed : int
            Of the draws; a fact's own do not depend on the other facts.

        Raises
        ------
        FactvizError
            If a fact has no template, or its relation has fewer other subjects.
        """
        if count < 0:
            raise FactvizError(f"{count} shots can't be given: 0 or more")
        by_relation: dict[str, list[Fact]] = {}
        for fact in self._facts if among is None else among:
            by_relation.setdefault(fact.relation, []).append(fact)
        return FactSet(
            shots.in_front(
                fact, by_relation.get(fact.relation, []), count, random.Random(f"{seed} {i}")
            )
            for i, fact in enumerate(self._facts)
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a fact: prompt, subject, relation, answer."""
        import pandas as pd

        columns = ["prompt", "subject", "relation", "answer"]
        return pd.DataFrame([[getattr(fact, c) for c in columns] for fact in self], columns=columns)

    def __len__(self) -> int:
        return len(self._facts)

    @overload
    def __getitem__(self, index: int) -> Fact: ...
    @overload
    def __getitem__(self, index: slice) -> FactSet: ...
    def __getitem__(self, index: int | slice) -> Fact | FactSet:
        found = self._facts[index]
        return FactSet(found) if isinstance(found, list) else found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FactSet) and self._facts == other._facts

    def __hash__(self) -> int:
        return hash(tuple(self._facts))

    def __repr__(self) -> str:
        relations = sorted({fact.relation for fact in self._facts})
        shown = ", ".join(relations[:5]) + (", …" if len(relations) > 5 else "")
        return f"FactSet of {len(self)} facts, {len(relations)} relations: {shown}"


def asked(row: builtin.Row, template: str = "") -> Fact:
    """An entry of the built-in tables as a fact, in a wording of its relation (the first one).

    S and R are left to the set it is put into.
    """
    template = template or experiments.every_wording()[row.relation][0]
    return Fact.from_template(
        template,
        row.subject,
        row.answer,
        relation=row.relation,
        prefix=builtin.prefix_of(template),
    )


def as_facts(facts: Fact | Iterable[Fact]) -> list[Fact]:
    """The facts as a list, whatever of the three forms was given.

    Raises
    ------
    FactvizError
        If there are none, or something in them is not a `Fact`.
    """
    if not isinstance(facts, Iterable) and not isinstance(facts, Fact):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(f"facts are {facts!r}: pass a Fact, a list of them or a FactSet")
    found: list[Any] = [facts] if isinstance(facts, Fact) else list(facts)
    if not found:
        raise FactvizError("no facts were given: pass a Fact, a list of them or a FactSet")
    for item in found:
        if not isinstance(item, Fact):
            raise FactvizError(f"facts must be Fact objects, not {type(item).__name__}: {item!r}")
    return found


def _answer_id(tokenizer: Any, fact: Fact) -> int:
    try:
        return attribute_tokens(tokenizer, fact, [fact.answer])[0].token_id
    except FactvizError as error:
        raise FactvizError(f"{error} (fact {fact.prompt[:60]!r})") from None


def _filled(facts: list[Fact]) -> list[Fact]:
    by_subject: dict[str, dict[str, list[str]]] = {}
    by_relation: dict[str, dict[str, set[str]]] = {}
    for fact in facts:
        if fact.relation:
            by_subject.setdefault(fact.subject, {}).setdefault(fact.relation, []).append(
                fact.answer
            )
            by_relation.setdefault(fact.relation, {}).setdefault(fact.answer, set()).add(
                fact.subject
            )
    return [
        fact
        if fact.same_subject or fact.same_relation or not fact.relation
        else fact.replace(
            same_subject=_others(by_subject[fact.subject], fact.relation),
            same_relation=_of_others(by_relation[fact.relation], fact.subject),
        )
        for fact in facts
    ]


def _others(answers: dict[str, list[str]], relation: str) -> tuple[str, ...]:
    return tuple(word for name, words in answers.items() if name != relation for word in words)


def _of_others(answers: dict[str, set[str]], subject: str) -> tuple[str, ...]:
    """Answers of other subjects: what is also right for this one is left out."""
    return tuple(word for word, subjects in answers.items() if subject not in subjects)


def _matching(facts: list[Fact], name: str, wanted: set[str]) -> list[Fact]:
    kept = [fact for fact in facts if getattr(fact, name) in wanted]
    if not kept:
        there = sorted({getattr(fact, name) for fact in facts})
        raise FactvizError(
            f"no fact has {name} {' or '.join(map(repr, sorted(wanted)))}; there are "
            + ", ".join(map(repr, there[:12]))
            + (f" and {len(there) - 12} more" if len(there) > 12 else "")
        )
    return kept
