"""Named sets of positions, and random ones of the same size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factviz.analysis.controls import random_positions
from factviz.analysis.position_sets import NAMES, named_set
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens, tokenize_prompt
from tests.families import tiny_tokenizer


@cache
def _row(
    prompt: str, subject: str, bos: bool = True, prefix: str = ""
) -> tuple[Fact, PromptTokens]:
    fact = Fact(prompt, subject, "w1", prefix=prefix)
    return fact, tokenize_prompt(tiny_tokenizer(), fact, bos_id=0 if bos else None)


def _sets(*case: object) -> dict[str, tuple[int, ...]]:
    return {name: named_set(name, *_row(*case)) for name in NAMES}  # type: ignore[arg-type]


def test_named_sets() -> None:
    assert _sets("w5 w6 w7 w8 w9", "w6 w7", True, "w5") == {
        "subject": (2, 3),
        "subject_last": (3,),
        "non_subject": (0, 1, 4),
        "last": (5,),
        "bos": (0,),
        "prefix": (1,),
        "relation": (4,),
        "all": (0, 1, 2, 3, 4, 5),
    }


def test_a_subject_that_ends_the_prompt_has_end_in_it() -> None:
    found = _sets("w5 w6 w7", "w6 w7", False)
    assert found["subject"] == (1, 2) and found["last"] == (2,)
    assert found["non_subject"] == (0,) and found["bos"] == ()
    assert found["relation"] == (0,)


@given(st.integers(0, 10_000), st.integers(1, 6), st.booleans())
def test_random_positions_are_as_many_and_elsewhere(seed: int, size: int, bos: bool) -> None:
    fact, row = _row("w5 w6 w7 w8 w9 w10", "w6 w7", bos)
    avoid = named_set("subject", fact, row)
    drawn = random_positions(row, avoid, size, np.random.default_rng(seed))
    inner = len(row) - 1 - bos - 2
    assert len(set(drawn)) == (size if size <= len(row) - 2 else 0)
    assert not set(drawn) & set(avoid)
    if size <= inner:  # BOS and END only where the others do not suffice
        assert not set(drawn) & {0 if bos else -1, len(row) - 1}


@pytest.mark.parametrize("seed", range(20))
def test_an_overlapping_draw_differs_from_the_set(seed: int) -> None:
    _, row = _row("w5 w6 w7", "w6")
    avoid = (0, 1, 2)
    drawn = random_positions(row, avoid, 3, np.random.default_rng(seed), overlap=True)
    assert len(drawn) == 3 and drawn != avoid
    assert random_positions(row, avoid, 3, np.random.default_rng(seed)) == ()
    everything = (0, 1, 2, 3)
    assert random_positions(row, everything, 4, np.random.default_rng(0), overlap=True) == ()
