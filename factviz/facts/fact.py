"""One fact: a prompt, the subject in it, the answer it asks for, and the sets S and R."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from factviz.facts.errors import FactvizError, FactvizWarning

SLOT = "{subject}"


@dataclass(frozen=True)
class Fact:
    """A factual prompt with its subject and its answer.

    Parameters
    ----------
    prompt : str
        What the model reads; the answer is its next word. A trailing space is trimmed with a
        warning, because it changes how the answer is cut into tokens.
    subject : str
        The subject as it stands in the prompt. If it stands there twice, the last one is taken,
        with a warning, unless ``subject_start`` says which.
    answer : str
        The answer attribute, *a*, without a leading space.
    relation : str
        A name for the relation, such as ``"landmark_country"``.
    same_subject, same_relation : iterable of str
        S, attributes of this subject under other relations, and R, attributes of this relation
        for other subjects (arXiv 2402.07321). The answer is in neither.
    subject_start : int, optional
        The character of the prompt at which the subject begins.
    prefix : str
        Text declared as a prefix, such as ``"Fact:"``: the prompt begins with it.
    template : str
        The template the prompt was made from, if any.
    topic : str
        The topic word, where it is not the subject (arXiv 2403.19521).
    relation_words : str
        The words in the prompt that name the relation, such as ``"country"``.
    keep_trailing_space : bool
        Leave the prompt exactly as it is.

    Raises
    ------
    FactvizError
        If the prompt, subject or answer is empty, or the subject or prefix is not where it
        should be; the message shows the value.
    """

    prompt: str
    subject: str
    answer: str
    relation: str = ""
    same_subject: tuple[str, ...] = ()
    same_relation: tuple[str, ...] = ()
    subject_start: int | None = field(default=None, kw_only=True)
    prefix: str = field(default="", kw_only=True)
    template: str = field(default="", kw_only=True)
    topic: str = field(default="", kw_only=True)
    relation_words: str = field(default="", kw_only=True)
    keep_trailing_space: bool = field(default=False, kw_only=True)
    notes: tuple[str, ...] = field(default=(), init=False, compare=False, repr=False)
    """What was decided for the user, in sentences; results carry them."""

    def __post_init__(self) -> None:
        self._check_words()
        if not self.keep_trailing_space and self.prompt != self.prompt.rstrip():
            self._decide(
                f"the prompt {_show(self.prompt)} ends with a space, which was trimmed: the answer "
                "brings its own (keep_trailing_space=True keeps it)"
            )
            self._set(prompt=self.prompt.rstrip())
        self._set(
            answer=self.answer.strip(),
            same_subject=_attribute_set(self.same_subject, self.answer, "same_subject"),
            same_relation=_attribute_set(self.same_relation, self.answer, "same_relation"),
            subject_start=self._locate(),
        )
        for name in ("topic", "relation_words"):
            if getattr(self, name) not in self.prompt:
                raise FactvizError(
                    f"{name} {_show(getattr(self, name))} not found in prompt {_show(self.prompt)}"
                )

    @classmethod
    def from_template(cls, template: str, subject: str, answer: str, **options: Any) -> Fact:
        """Fill ``{subject}`` in a template, once, and remember where it went.

        Parameters
        ----------
        template : str
            Text with ``{subject}`` in it once, such as ``"Fact: {subject} is in the country of"``.
        subject, answer : str
            As for `Fact`.
        **options
            The other parameters of `Fact`.
        """
        if template.count(SLOT) != 1:
            raise FactvizError(f"template {_show(template)} must contain {SLOT} exactly once")
        before, after = template.split(SLOT)
        options.setdefault("subject_start", len(before))
        return cls(before + subject + after, subject, answer, template=template, **options)

    @property
    def subject_span(self) -> tuple[int, int]:
        """First character of the subject in the prompt, and the one after its last."""
        start = self.subject_start or 0
        return start, start + len(self.subject)

    def replace(self, **changes: Any) -> Fact:
        """The same fact with some fields changed; the subject is looked for again if need be."""
        moved = bool({"prompt", "subject"} & changes.keys())
        if moved:
            changes.setdefault("subject_start", None)
        made = dataclasses.replace(self, **changes)
        if not moved:
            made._set(notes=self.notes)
        return made

    def noted(self, *notes: str) -> Fact:
        """The same fact with more sentences among its ``notes``."""
        made = dataclasses.replace(self)
        made._set(notes=(*self.notes, *notes))
        return made

    def _decide(self, note: str) -> None:
        self._set(notes=(*self.notes, note))
        warnings.warn(note, FactvizWarning, stacklevel=_outside())

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_words(self) -> None:
        for name in ("prompt", "subject", "answer"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise FactvizError(f"{name} must be text, not {type(value).__name__}: {value!r}")
            check_characters(value, name)
            if not value.strip():
                raise FactvizError(f"the {name} is empty ({value!r}): give at least one word")
        for name in ("relation", "prefix", "template", "topic", "relation_words"):
            if not isinstance(getattr(self, name), str):
                raise FactvizError(f"{name} must be text, not {getattr(self, name)!r}")
        if self.prefix and not self.prompt.startswith(self.prefix):
            raise FactvizError(
                f"prompt {_show(self.prompt)} does not begin with its prefix {_show(self.prefix)}"
            )

    def _locate(self) -> int:
        if self.subject_start is not None:
            end = self.subject_start + len(self.subject)
            if self.subject_start < 0 or self.prompt[self.subject_start : end] != self.subject:
                raise FactvizError(
                    f"subject {_show(self.subject)} does not begin at character "
                    f"{self.subject_start} of prompt {_show(self.prompt)}"
                )
            return self.subject_start
        start = self.prompt.rfind(self.subject)
        if start < 0:
            raise FactvizError(
                f"subject {_show(self.subject)} not found in prompt {_show(self.prompt)}: "
                "write it exactly as it stands there, capitals and article included"
            )
        if self.prompt.find(self.subject) < start:
            self._decide(
                f"subject {_show(self.subject)} stands more than once in prompt "
                f"{_show(self.prompt)}: the last one is taken (subject_start= says which)"
            )
        return start


def _attribute_set(words: Any, answer: str, name: str) -> tuple[str, ...]:
    """Words without repeats and without the answer, in their order."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise FactvizError(f"{name} must be a list of words, not {words!r}")
    words = tuple(words)
    for word in words:
        if not isinstance(word, str):
            raise FactvizError(f"{name} must hold words, not {type(word).__name__}: {word!r}")
        check_characters(word, name)
    return tuple(word for word in dict.fromkeys(words) if word.strip() and word != answer.strip())


def check_characters(text: str, name: str) -> None:
    """Refuse half a surrogate pair."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise FactvizError(
            f"{name}: {_show(text)} holds half a surrogate pair, which is no character: decode "
            "the text properly"
        )


def _outside() -> int:
    """The ``stacklevel`` of the first caller that is neither this module nor a generated method."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "") in (__name__, "dataclasses"):
        level, frame = level + 1, frame.f_back
    return level


def _show(text: str) -> str:
    """The text in quotes, control characters escaped, shortened where it is very long."""
    return repr(text if len(text) <= 120 else text[:117] + "…")
