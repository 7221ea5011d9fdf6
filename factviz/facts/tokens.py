"""From words to tokens: prompt positions, source groups, and the one token of an attribute.

The tokenizer is passed in (a fast one of transformers); torch is not needed here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import Fact

GROUPS = ("bos", "prefix", "subject", "relation", "end")


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as the model reads it.

    ``ids`` and ``texts`` [position] include the BOS token where there is one; ``texts`` are
    slices of the prompt, spaces kept, so that duplicates and leading spaces stay visible.
    ``groups`` partition the positions (see `GROUPS`); a group may be empty.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    has_bos: bool
    groups: dict[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class AttributeToken:
    """One attribute as one token: its word, vocabulary id, text, role and what was decided.

    ``role`` is answer, same_subject, same_relation, both (in S and in R) or given.
    """

    word: str
    token_id: int
    text: str
    role: str
    note: str = ""


Encoded = tuple[list[int], list[tuple[int, int]]]
"""A prompt's token ids, and the characters that each covers."""
Memo = dict[tuple[Any, ...], "AttributeToken | FactvizError"]


def encode_prompts(tokenizer: Any, facts: Sequence[Fact]) -> list[Encoded]:
    """The ids and offsets of many prompts in one call, which costs a fraction of one call each."""
    if not getattr(tokenizer, "is_fast", False):
        return [_encode(tokenizer, fact.prompt) for fact in facts]
    found = tokenizer(
        [fact.prompt for fact in facts], add_special_tokens=False, return_offsets_mapping=True
    )
    pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
    return [(list(ids), [tuple(pair) for pair in offsets]) for ids, offsets in pairs]


def tokenize_prompt(
    tokenizer: Any,
    fact: Fact,
    *,
    bos_id: int | None,
    max_length: int | None = None,
    encoded: Encoded | None = None,
) -> PromptTokens:
    """Cut a fact's prompt into tokens and its positions into source groups.

    Parameters
    ----------
    tokenizer
        A fast tokenizer (character offsets are needed).
    fact : Fact
    bos_id : int or None
        The id put in front, once; None where the model's convention is no BOS.
    max_length : int, optional
        The model's context, in tokens.
    encoded : optional
        What `encode_prompts` gave for this prompt.

    Raises
    ------
    FactvizError
        If the prompt brings its own BOS text, has no tokens or more than ``max_length``.
    """
    _refuse_bos_text(tokenizer, fact.prompt, bos_id)
    ids, offsets = _encode(tokenizer, fact.prompt) if encoded is None else encoded
    if not ids:
        raise FactvizError(f"prompt {fact.prompt!r} has no tokens for this tokenizer")
    _warn_unknown(tokenizer, ids, fact.prompt)
    has_bos = bos_id is not None
    length = len(ids) + has_bos
    if max_length is not None and length > max_length:
        raise FactvizError(
            f"the prompt has {length} tokens{' with BOS' if has_bos else ''}, the model's context "
            f"{max_length}: shorten {fact.prompt[:60]!r}…"
        )
    texts = _texts(fact.prompt, offsets)
    groups = _groups(fact, offsets, has_bos)
    if bos_id is not None:
        ids, texts = [bos_id, *ids], [_bos_text(tokenizer, bos_id), *texts]
    return PromptTokens(tuple(ids), tuple(texts), has_bos, groups)


def attribute_tokens(
    tokenizer: Any,
    fact: Fact,
    attributes: Iterable[str | int] | None = None,
    *,
    memo: Memo | None = None,
    base: list[int] | None = None,
) -> list[AttributeToken]:
    """The attributes of a fact as tokens, one each; two attributes never share a token.

    Parameters
    ----------
    tokenizer
        A fast tokenizer.
    fact : Fact
    attributes : iterable of str or int, optional
        Words or vocabulary ids; by default the answer, then S, then R. A given word that is the
        answer, in S or in R keeps that role.
    memo : dict, optional
        Shared by calls for many facts: a word is cut once for all prompts that end alike.
    base : list of int, optional
        The prompt's own ids, without BOS, where they are known already.

    Returns
    -------
    list of AttributeToken
        An attribute whose token an earlier one has is left out, and the earlier one's note says
        so; one in S and in R becomes one entry with the role ``both``.
    """
    wanted = _wanted(fact, attributes)
    base = _encode(tokenizer, fact.prompt)[0] if base is None else base
    kept: dict[int, AttributeToken] = {}
    left_out: list[str] = []
    for item, role in wanted:
        try:
            token = (
                _attribute(tokenizer, fact, base, item, role)
                if memo is None
                else _remembered(tokenizer, fact, base, item, role, memo=memo)
            )
        except FactvizError as error:
            # S and R may hold what this tokenizer cannot say; the answer, and what was asked for
            # by name, must be there.
            if attributes is not None or role == "answer":
                raise
            left_out.append(f"left out of {role}: {error}")
            continue
        first = kept.setdefault(token.token_id, token)
        if first is not token:
            kept[token.token_id] = _shared(first, token)
    if not kept:
        raise FactvizError("no attributes were given: give words or token ids, or leave them out")
    found = list(kept.values())
    return [_with_note(found[0], *left_out), *found[1:]] if left_out else found


def _wanted(fact: Fact, attributes: Iterable[str | int] | None) -> Sequence[tuple[str | int, str]]:
    roles = {fact.answer: "answer"}
    for word in fact.same_subject:
        roles[word] = "same_subject"
    for word in fact.same_relation:
        roles[word] = "both" if roles.get(word) == "same_subject" else "same_relation"
    if attributes is None:
        return list(roles.items())
    if isinstance(attributes, (str, Integral)):
        attributes = [attributes]
    return [(item, roles.get(item, "given") if isinstance(item, str) else "given")
            for item in attributes]  # fmt: skip


def _remembered(
    tokenizer: Any, fact: Fact, base: list[int], item: str | int, role: str, *, memo: Memo
) -> AttributeToken:
    """An attribute's token, cut anew only for another ending of the prompt.

    What follows a whole word behind the subject does not change how a later word is cut.
    """
    tail = fact.prompt[fact.subject_span[1] :]
    key = (tail if tail[:1].isspace() else fact.prompt, tuple(base[-1:]), item, role == "answer")
    if (held := memo.get(key)) is None:
        try:
            held = _attribute(tokenizer, fact, base, item, role)
        except FactvizError as error:
            held = error
        memo[key] = held
    if isinstance(held, FactvizError):
        raise held
    return held if held.role == role else replace(held, role=role)


def _attribute(
    tokenizer: Any, fact: Fact, base: list[int], item: str | int, role: str
) -> AttributeToken:
    if isinstance(item, str):
        token_id, note = _first_new_token(tokenizer, fact.prompt, base, item, role)
        return AttributeToken(item, token_id, tokenizer.decode([token_id]), role, note)
    if isinstance(item, bool) or not isinstance(item, Integral):
        raise FactvizError(f"attribute {item!r} is neither a word nor a token id")
    size = len(tokenizer)
    token_id = int(item)
    if not 0 <= token_id < size:
        raise FactvizError(f"attribute id {token_id} is not in the vocabulary (0 to {size - 1})")
    text = tokenizer.decode([token_id])
    return AttributeToken(text.strip() or text, token_id, text, role)


def _first_new_token(
    tokenizer: Any, prompt: str, base: list[int], word: str, role: str
) -> tuple[int, str]:
    """The first token that prompt + " " + word has and prompt has not."""
    name = "answer" if role == "answer" else "attribute"
    if not word.strip():
        raise FactvizError(f"the {name} is empty ({word!r}): give at least one word")
    ids = _encode(tokenizer, f"{prompt} {word.strip()}")[0]
    new = ids[len(base) :]
    if ids[: len(base)] != base or not new:
        raise FactvizError(
            f"{name} {word!r} melts into the prompt's last token {prompt[-12:]!r}: it has no "
            "first new token; end the prompt with a whole word or give a token id"
        )
    text = tokenizer.decode([new[0]])
    if not text.strip() and tokenizer.decode(new).strip():
        raise FactvizError(
            f"the first new token of {name} {word!r} is a bare space for this tokenizer: it says "
            "nothing of the answer; write it as words, or give a token id"
        )
    if new[0] == tokenizer.unk_token_id and text != word.strip():
        raise FactvizError(f"{name} {word!r} is not in this tokenizer's vocabulary")
    return new[0], f"first new token of {len(new)}: {text!r}" if len(new) > 1 else ""


def _shared(first: AttributeToken, later: AttributeToken) -> AttributeToken:
    if {first.role, later.role} == {"same_subject", "same_relation"}:
        role = "both"
    else:
        role = first.role
    said = f"{later.word!r} has the same token and was left out"
    return _with_note(replace(first, role=role), said)


def _with_note(token: AttributeToken, *said: str) -> AttributeToken:
    return replace(token, note="; ".join([token.note, *said] if token.note else said))


def _encode(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    if not getattr(tokenizer, "is_fast", False):
        raise FactvizError(
            f"tokenizer {type(tokenizer).__name__} gives no character offsets: load its fast form"
        )
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(found["input_ids"]), [tuple(pair) for pair in found["offset_mapping"]]


def _bos_text(tokenizer: Any, bos_id: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(bos_id))


def _refuse_bos_text(tokenizer: Any, prompt: str, bos_id: int | None) -> None:
    if bos_id is None:
        return
    text = _bos_text(tokenizer, bos_id)
    if text and prompt.lstrip().startswith(text):
        raise FactvizError(
            f"prompt {prompt[:60]!r} begins with the BOS text {text!r}, which is put in front "
            "already: leave it out, or load the model with prepend_bos=False"
        )


def _warn_unknown(tokenizer: Any, ids: list[int], prompt: str) -> None:
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown in ids and str(tokenizer.unk_token) not in prompt:
        warnings.warn(
            f"prompt {prompt[:60]!r} has {ids.count(unknown)} words that this tokenizer does not "
            "know",
            FactvizWarning,
            stacklevel=4,
        )


def _texts(prompt: str, offsets: list[tuple[int, int]]) -> list[str]:
    """Slices of the prompt; a character cut into several tokens is numbered, "é[1/2]".

    Tokenizers differ in whether a token's offsets include its leading space, so a slice begins
    where the token before it ended.
    """
    texts: list[str] = []
    alike: dict[tuple[int, int], list[int]] = {}
    for index, span in enumerate(offsets):
        alike.setdefault(span, []).append(index)
    for index, (start, end) in enumerate(offsets):
        pieces = alike[start, end]
        if len(pieces) > 1 and end > start:
            texts.append(f"{prompt[start:end]}[{pieces.index(index) + 1}/{len(pieces)}]")
        else:
            texts.append(prompt[min(start, offsets[index - 1][1] if index else 0) : end])
    return texts


def _groups(
    fact: Fact, offsets: list[tuple[int, int]], has_bos: bool
) -> dict[str, tuple[int, ...]]:
    groups: dict[str, list[int]] = {name: [] for name in GROUPS}
    if has_bos:
        groups["bos"].append(0)
    start, stop = fact.subject_span
    for index, span in enumerate(offsets):
        # A token's leading space does not count: " of" beside the subject is not in it.
        begin = span[1] - len(fact.prompt[span[0] : span[1]].lstrip())
        if index == len(offsets) - 1:
            name = "end"
        elif begin < stop and span[1] > start:
            name = "subject"
        elif begin < len(fact.prefix):
            name = "prefix"
        else:
            name = "relation"
        groups[name].append(index + has_bos)
    return {name: tuple(positions) for name, positions in groups.items()}
