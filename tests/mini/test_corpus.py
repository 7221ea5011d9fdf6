"""The training text is seeded, keeps its held-out pairs out, and marks its answers."""

from __future__ import annotations

from itertools import islice

from factviz.facts import builtin
from factviz.models.mini.bpe import train_tokenizer
from factviz.models.mini.corpus import (
    LABEL_NOISE,
    Corpus,
    Pair,
    held_out_pairs,
    trained_wordings,
    unseen_wordings,
)


def test_the_same_seed_gives_the_same_sentences() -> None:
    first, again, other = (list(islice(Corpus(seed), 200)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_answers_are_marked_with_their_leading_space() -> None:
    answers = {row.answer for row in builtin.rows()}
    for sentence in islice(Corpus(3), 500):
        assert sentence.answers
        for start, stop in sentence.answers:
            assert sentence.text[start] == " "
            assert sentence.text[start + 1 : stop] in answers


def test_held_out_prompts_are_never_trained_on() -> None:
    held_out = {pair.prompt for pair in held_out_pairs()}
    unseen = {Pair(r, t).prompt for r in builtin.rows() for t in unseen_wordings(r.relation)}
    # One wording can serve two kinds, so a prompt counts only where no trained pair has it too.
    trained = {
        pair.prompt
        for row in builtin.rows()
        for pair in (Pair(row, t) for t in trained_wordings(row.relation))
        if not pair.held_out
    }
    assert len(held_out - trained) > 7000
    assert held_out.isdisjoint(trained)
    for sentence in islice(Corpus(4), 3000):
        for start, _ in sentence.answers:
            assert sentence.text[:start] not in held_out | unseen


def test_about_a_tenth_of_the_pairs_is_held_out_of_every_relation() -> None:
    for relation in builtin.wordings():
        pairs = [
            Pair(row, template)
            for row in builtin.rows()
            if row.relation == relation
            for template in trained_wordings(relation)
        ]
        share = sum(pair.held_out for pair in pairs) / len(pairs)
        assert 0.05 < share < 0.16, relation


def test_label_noise_is_what_the_card_says() -> None:
    truth = {(r.subject, r.relation): r.answer for r in builtin.rows()}
    corpus = Corpus(5)
    row = next(r for r in builtin.rows() if r.relation == "country_capital")
    answers = [corpus._clause(row).text.rsplit(" ", 1)[1] for _ in range(4000)]
    wrong = sum(a != truth[row.subject, row.relation] for a in answers) / len(answers)
    assert abs(wrong - LABEL_NOISE) < 0.02


def test_every_answer_word_is_one_token() -> None:
    tokenizer = train_tokenizer()
    words = {word for row in builtin.rows() for word in row.answer.split()}
    assert [word for word in words if len(tokenizer.encode(f" {word}").ids) != 1] == []


def test_the_tokenizer_is_deterministic() -> None:
    assert train_tokenizer().to_str() == train_tokenizer().to_str()
