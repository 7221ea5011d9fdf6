"""Prompt positions, groups and attribute tokens, on real tokenizers' habits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import Fact
from factviz.facts.tokens import attribute_tokens, tokenize_prompt
from factviz.models.mini.bpe import BOS, train_tokenizer
from tests.hostile import HOSTILE

PROMPT = "Fact: The Colosseum is in the country of"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(), bos_token=BOS)


def _fact(prompt: str = PROMPT, subject: str = "The Colosseum", **options: Any) -> Fact:
    return Fact(prompt, subject, options.pop("answer", "Italy"), **options)


def _wordlevel(words: list[str], pre: Any, decoder: Any = None) -> Any:
    vocabulary = {word: index for index, word in enumerate(["<unk>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre
    if decoder is not None:
        inner.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def test_groups_partition_the_positions(tokenizer: Any) -> None:
    tokens = tokenize_prompt(tokenizer, _fact(prefix="Fact:"), bos_id=0)
    named = {name: [tokens.texts[i] for i in where] for name, where in tokens.groups.items()}
    assert named["bos"] == [BOS]
    assert named["prefix"] == ["Fact", ":"]
    assert "".join(named["subject"]) == " The Colosseum"
    assert named["relation"] == [" is", " in", " the", " country"]
    assert named["end"] == [" of"]
    assert sorted(sum(tokens.groups.values(), ())) == list(range(len(tokens)))


def test_an_undeclared_prefix_counts_as_relation(tokenizer: Any) -> None:
    tokens = tokenize_prompt(tokenizer, _fact(), bos_id=None)
    assert not tokens.has_bos
    assert tokens.groups["prefix"] == tokens.groups["bos"] == ()
    assert tokens.groups["relation"][:2] == (0, 1)


def test_the_end_is_the_last_token_even_inside_the_subject(tokenizer: Any) -> None:
    tokens = tokenize_prompt(tokenizer, _fact("The country of The Colosseum"), bos_id=0)
    assert tokens.groups["end"] == (len(tokens) - 1,)
    assert len(tokens) - 1 not in tokens.groups["subject"]
    assert tokens.groups["subject"]


def test_one_token_is_the_end(tokenizer: Any) -> None:
    tokens = tokenize_prompt(tokenizer, _fact("A", "A"), bos_id=None)
    assert tokens.groups["end"] == (0,)
    assert tokens.groups["subject"] == ()


def test_texts_are_the_prompt_cut_up(tokenizer: Any) -> None:
    tokens = tokenize_prompt(tokenizer, _fact("Look at The Colosseum  now,  it is in"), bos_id=0)
    assert "".join(tokens.texts[1:]) == "Look at The Colosseum  now,  it is in"


def test_a_character_of_several_tokens_is_numbered(tokenizer: Any) -> None:
    tokens = tokenize_prompt(tokenizer, _fact("A 🗼 is", "🗼"), bos_id=None)
    pieces = [tokens.texts[i] for i in tokens.groups["subject"]]
    assert [piece for piece in pieces if "🗼[" in piece][-1] == f"🗼[{len(pieces)}/{len(pieces)}]"


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.strip() and "\ud83d" not in t][:-1])
def test_hostile_prompts_keep_their_positions(tokenizer: Any, text: str) -> None:
    fact = _fact(f"About {text} it is said in", text)
    try:
        tokens = tokenize_prompt(tokenizer, fact, bos_id=0)
    except FactvizError as error:
        pytest.fail(str(error))
    assert tokens.groups["subject"]
    assert len(tokens.ids) == len(tokens.texts)
    assert sorted(sum(tokens.groups.values(), ())) == list(range(len(tokens)))


def test_bos_text_in_the_prompt_is_refused(tokenizer: Any) -> None:
    fact = _fact(f"{BOS}{PROMPT}")
    with pytest.raises(FactvizError, match=r"begins with the BOS text.*prepend_bos=False"):
        tokenize_prompt(tokenizer, fact, bos_id=0)
    assert tokenize_prompt(tokenizer, fact, bos_id=None).ids[0] == 0


def test_a_prompt_longer_than_the_context_is_refused(tokenizer: Any) -> None:
    with pytest.raises(FactvizError, match=r"13 tokens with BOS.*context 10"):
        tokenize_prompt(tokenizer, _fact(), bos_id=0, max_length=10)
    assert len(tokenize_prompt(tokenizer, _fact(), bos_id=0, max_length=13)) == 13


def test_unknown_words_in_the_prompt_are_said() -> None:
    tokenizer = _wordlevel(["The", "is"], pre_tokenizers.Whitespace())
    with pytest.warns(FactvizWarning, match="1 words that this tokenizer does not know"):
        tokenize_prompt(tokenizer, _fact("The Louvre is", "Louvre"), bos_id=None)


def test_an_answer_is_its_first_new_token(tokenizer: Any) -> None:
    fact = _fact(answer="Italy", same_subject=("Rome",), same_relation=("New York", "United Arab"))
    found = attribute_tokens(tokenizer, fact)
    assert [(a.word, a.text, a.role) for a in found] == [
        ("Italy", " Italy", "answer"),
        ("Rome", " Rome", "same_subject"),
        ("New York", " New York", "same_relation"),  # two words, and one token of this tokenizer
        ("United Arab", " United", "same_relation"),
    ]
    assert [a.note for a in found] == ["", "", "", "first new token of 2: ' United'"]


def test_attributes_that_share_a_token_become_one(tokenizer: Any) -> None:
    fact = _fact(same_subject=("United Nations",), same_relation=("United Arab", "Peru"))
    united = next(a for a in attribute_tokens(tokenizer, fact) if a.text == " United")
    assert united.role == "both"
    assert "'United Arab' has the same token and was left out" in united.note
    assert len({a.token_id for a in attribute_tokens(tokenizer, fact)}) == 3


def test_an_attribute_in_s_and_r_has_a_role_of_its_own(tokenizer: Any) -> None:
    fact = _fact(same_subject=("Peru",), same_relation=("Peru", "France"))
    assert [a.role for a in attribute_tokens(tokenizer, fact)] == [
        "answer",
        "both",
        "same_relation",
    ]


def test_given_words_keep_their_roles_and_ids_are_checked(tokenizer: Any) -> None:
    fact = _fact(same_relation=("Peru",))
    found = attribute_tokens(tokenizer, fact, ["Italy", "Peru", "Rome", 300])
    assert [a.role for a in found] == ["answer", "same_relation", "given", "given"]
    for bad in (-1, 10**6):
        with pytest.raises(FactvizError, match=f"id {bad} is not in the vocabulary"):
            attribute_tokens(tokenizer, fact, [bad])
    with pytest.raises(FactvizError, match="no attributes"):
        attribute_tokens(tokenizer, fact, [])
    with pytest.raises(FactvizError, match="attribute is empty"):
        attribute_tokens(tokenizer, fact, [" "])


def test_a_bare_space_is_not_an_answer() -> None:
    """Digit-splitting tokenizers make years begin with a bare space."""
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="never"), pre_tokenizers.Digits(True)]
    )
    tokenizer = _wordlevel(["It", "▁is", "▁", "1", "9"], pre, decoders.Metaspace())
    with pytest.raises(FactvizError, match="bare space"):
        attribute_tokens(tokenizer, _fact("It is", "It", answer="19"))


def test_a_prefix_space_tokenizer_gives_the_word_not_the_space() -> None:
    """On Llama-like tokenizers encode(" word") alone begins with "▁" for every word."""
    pre = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer = _wordlevel(["▁It", "▁is", "▁Italy"], pre, decoders.Metaspace())
    fact = _fact("It is", "It")
    assert attribute_tokens(tokenizer, fact)[0].token_id == 3
    assert tokenize_prompt(tokenizer, fact, bos_id=None).texts == ("It", " is")


def test_an_unknown_answer_is_refused() -> None:
    tokenizer = _wordlevel(["It", "is"], pre_tokenizers.Whitespace())
    with pytest.raises(FactvizError, match="'Italy' is not in this tokenizer's vocabulary"):
        attribute_tokens(tokenizer, _fact("It is", "It"))


def test_an_answer_that_melts_into_the_prompt_is_refused() -> None:
    tokenizer = _wordlevel(["It is", "It is Italy"], pre_tokenizers.Split("\n", "isolated"))
    with pytest.raises(FactvizError, match="melts into"):
        attribute_tokens(tokenizer, _fact("It is", "It"))


def test_what_a_tokenizer_cannot_say_is_left_out_of_the_sets_and_said() -> None:
    tokenizer = _wordlevel(["It", "is", "Italy"], pre_tokenizers.Whitespace())
    fact = _fact("It is", "It", same_relation=("Peru", "is"))
    first, second = attribute_tokens(tokenizer, fact)
    assert (first.word, second.word) == ("Italy", "is")
    assert "left out of same_relation: attribute 'Peru' is not in this" in first.note
    with pytest.raises(FactvizError, match="'Peru' is not in"):
        attribute_tokens(tokenizer, fact, ["Italy", "Peru"])


@pytest.mark.parametrize("bad", [7.9, True, None, ["a"]])
def test_what_is_no_attribute_is_refused(tokenizer: Any, bad: Any) -> None:
    with pytest.raises(FactvizError, match="neither a word nor a token id"):
        attribute_tokens(tokenizer, _fact(), [bad])


def test_numpy_ids_are_ids(tokenizer: Any) -> None:
    one = np.int64(300)
    assert attribute_tokens(tokenizer, _fact(), one)[0].token_id == 300  # type: ignore[arg-type]


def test_a_kept_trailing_space_is_a_token_and_the_answer_brings_its_own(tokenizer: Any) -> None:
    fact = _fact(PROMPT + " ", keep_trailing_space=True)
    assert tokenize_prompt(tokenizer, fact, bos_id=0).texts[-1] == " "
    assert attribute_tokens(tokenizer, fact)[0].text == " Italy"


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    make: Callable[[], Any] = Slow
    with pytest.raises(FactvizError, match="Slow gives no character offsets"):
        tokenize_prompt(make(), _fact(), bos_id=None)
