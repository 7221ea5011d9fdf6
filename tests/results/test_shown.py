from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factviz.results.shown import digits_for, number, shown, token_text
from tests.hostile import HOSTILE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a⏎b⇥c"),
        ("\x00\x1b\x7f", "␀␛␡"),
        ("\u202eevil\u202c", "‹U+202E›evil‹U+202C›"),
        ("a\u2028b", "a‹U+2028›b"),
        ("\ud83d", "‹U+D83D›"),
        ("\uffff", "‹U+FFFF›"),
        ("\u0301x", "◌\u0301x"),
        ("a\u00a0b", "a‹U+00A0›b"),
        ("👩\u200d👧", "👩\u200d👧"),
        ("שלום", "שלום"),
    ],
)
def test_invisible_characters_are_seen(text, expected):
    assert shown(text) == expected


def test_tokens_show_their_spaces():
    assert token_text(" The  x") == "·The··x"
    assert token_text("") == "∅"


def test_long_text_ends_in_an_ellipsis():
    assert shown("x" * 50, limit=10) == "x" * 9 + "…"


@given(st.one_of(st.text(), st.text(alphabet=st.characters(codec=None)), st.sampled_from(HOSTILE)))
def test_whatever_is_shown_is_printable_and_encodable(text):
    result = shown(text)
    result.encode("utf-8")
    assert "\n" not in result
    for char in result:
        category = unicodedata.category(char)
        assert category not in ("Cc", "Cs", "Zl", "Zp")
        assert category != "Cf" or char in "\u200c\u200d"
    assert shown(result) == result


@pytest.mark.parametrize(
    ("value", "digits", "sign", "expected"),
    [
        (1.234, 2, False, "1.23"),
        (-1.234, 2, False, "−1.23"),
        (-0.001, 2, True, "0.00"),
        (2.0, 1, True, "+2.0"),
        (float("nan"), 2, False, "n/a"),
    ],
)
def test_numbers(value, digits, sign, expected):
    assert number(value, digits, sign=sign) == expected


@pytest.mark.parametrize(
    ("scale", "digits"), [(2.3, 2), (10.8, 2), (0.03, 4), (250.0, 1), (5000.0, 0), (0.0, 2)]
)
def test_decimals_follow_the_scale(scale, digits):
    assert digits_for(scale) == digits
