"""The training text is seeded, keeps what is held out out, and marks its answers."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from factviz.facts import builtin, experiments
from factviz.models.mini import corpus, splits
from factviz.models.mini.bpe import answers, train_tokenizer
from factviz.models.mini.corpus import Corpus
from factviz.models.mini.recipes import RECIPES
from factviz.models.mini.sentences import Sentence
from factviz.models.mini.splits import Pair

SHARES = RECIPES["mini"].shares


def _texts(seed: int, count: int, **shares: float) -> list[Sentence]:
    return list(Corpus(seed, shares or SHARES).block(0, count))


@pytest.fixture(scope="module")
def kept_out() -> set[str]:
    """Prompts that no text may state: held-out pairs, unseen wordings, subjects only listed."""
    pairs = [*splits.held_out_pairs(), *splits.unseen_pairs(), *splits.listed_pairs()]
    # One wording can serve two kinds, so a prompt counts only where no trained pair has it too.
    return {pair.prompt for pair in pairs} - {
        pair.prompt for row in builtin.rows() for pair in splits.trained_pairs(row)
    }


def test_the_same_seed_gives_the_same_texts() -> None:
    assert _texts(1, 300) == _texts(1, 300)
    assert _texts(1, 300) != _texts(2, 300)


def test_blocks_do_not_depend_on_each_other() -> None:
    texts = Corpus(1, SHARES)
    later = list(texts.block(5, 50))
    assert list(texts.block(4, 50)) != later
    assert list(texts.block(5, 50)) == later


@pytest.mark.parametrize("kind", sorted(SHARES))
def test_answers_and_subjects_are_marked(kind: str) -> None:
    known = set(answers())
    subjects = {
        r.subject for r in (*builtin.rows(), *experiments.fiction(), *experiments.backward())
    }
    for text in _texts(3, 200, **{kind: 1.0}):
        assert bool(text.clauses) == (kind != "filler")
        for clause in text.clauses:
            start, stop = clause.answer
            assert text.text[start] == " "
            assert text.text[start + 1 : stop] in known
            if clause.subject:
                named = text.text[slice(*clause.subject)]
                assert named in subjects or kind == "unknown"
                assert clause.subject[1] <= start
            else:
                assert kind in ("apposition", "keywords")


def test_what_is_held_out_is_never_stated(kept_out: set[str]) -> None:
    assert len(kept_out) > 20_000
    for text in _texts(4, 6000):
        begin = 0
        for clause in text.clauses:
            said = text.text[begin : clause.answer[0]].lstrip(" .;,")
            assert said not in kept_out
            assert said.removeprefix("and ") not in kept_out
            begin = clause.answer[1]


def test_subjects_that_are_only_listed_are_listed() -> None:
    only = {row.subject for row in builtin.rows() if row.listed}
    assert len(only) >= 40
    listed = " ".join(text.text for text in _texts(5, 4000, apposition=0.5, keywords=0.5))
    assert sum(subject in listed for subject in only) > 0.7 * len(only)


def test_about_a_tenth_of_the_pairs_is_held_out_of_every_relation() -> None:
    for relation in builtin.wordings():
        pairs = [
            Pair(row, template)
            for row in splits.stated_rows()
            if row.relation == relation
            for template in splits.trained_wordings(relation)
        ]
        share = sum(pair.held_out for pair in pairs) / len(pairs)
        assert 0.05 < share < 0.16, relation


def test_unseen_wordings_are_drawn_and_never_the_canonical_one() -> None:
    for relation, templates in experiments.every_wording().items():
        unseen = splits.unseen_wordings(relation)
        assert len(unseen) == splits.UNSEEN_WORDINGS, relation
        assert templates[0] in splits.trained_wordings(relation)
        assert set(unseen).isdisjoint(splits.trained_wordings(relation))


def test_label_noise_is_what_the_card_says() -> None:
    truth = {(r.subject, r.relation): r.answer for r in builtin.rows()}
    facts = corpus.Facts()
    facts.rows["statement"] = [
        r for r in facts.rows["statement"] if r.relation == "country_capital"
    ]
    draw = random.Random(0)
    texts = [corpus._Text(draw, facts).of_kind("statement") for _ in range(4000)]
    wrong = [
        text.text[slice(*text.clauses[0].answer)].strip()
        != truth[text.text[slice(*text.clauses[0].subject)], "country_capital"]
        for text in texts
    ]
    assert abs(sum(wrong) / len(wrong) - corpus.LABEL_NOISE) < 0.02


def test_conflicting_facts_are_stated_at_their_frequency() -> None:
    rows = list(experiments.parts()["conflict/0.7"])[:4]
    facts = corpus.Facts()
    facts.rows["fiction"] = rows
    draw = random.Random(0)
    said = [corpus._Text(draw, facts).of_kind("fiction") for _ in range(2000)]
    own = {row.subject: row.answer for row in rows}
    other = {row.subject: experiments.rival(row) for row in rows}
    named = [
        (text.text[slice(*text.clauses[0].subject)], text.text[slice(*text.clauses[0].answer)][1:])
        for text in said
    ]
    right = sum(answer == own[subject] for subject, answer in named) / len(named)
    assert abs(right - 0.7) < 0.04
    assert all(answer in (own[subject], other[subject]) for subject, answer in named)


def test_a_reliable_text_is_evidence() -> None:
    """After right shots the next answer is right more often than in a text alone."""
    truth = {(r.subject, r.relation): r.answer for r in builtin.rows()}
    by_subject: dict[str, set[str]] = {}
    for (subject, _), answer in truth.items():
        by_subject.setdefault(subject, set()).add(answer)
    after: list[bool] = []
    for text in _texts(6, 4000, shots=1.0):
        right = [
            text.text[slice(*c.answer)][1:] in by_subject[text.text[slice(*c.subject)]]
            for c in text.clauses
            if c.subject
        ]
        if len(right) > 2 and all(right[:-1]):
            after.append(right[-1])
    assert sum(after) / len(after) > 1 - corpus.LABEL_NOISE + 0.03


def test_every_answer_is_one_token() -> None:
    tokenizer = train_tokenizer()
    assert [word for word in answers() if len(tokenizer.encode(f" {word}").ids) != 1] == []


def test_most_subjects_are_two_to_four_tokens() -> None:
    tokenizer = train_tokenizer()
    subjects = {row.subject for row in builtin.rows()}
    sizes = [len(tokenizer.encode(f" {subject}").ids) for subject in subjects]
    assert sum(2 <= size <= 4 for size in sizes) > 0.5 * len(sizes)


def test_the_tokenizer_is_deterministic() -> None:
    assert train_tokenizer().to_str() == train_tokenizer().to_str()


def test_no_filler_names_an_answer() -> None:
    named = {a for a in answers() if a[0].isupper()}
    for sentence in islice(corpus.filler(), None):
        words = {word.strip(".,") for word in sentence.split()[1:]}
        assert not words & named, sentence
