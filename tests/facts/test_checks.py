"""Numbers that users give: whole ones, seeds and shares are told from what only looks like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from factviz.facts.checks import check_counts, check_seed, check_shares, is_whole
from factviz.facts.errors import FactvizError


@pytest.mark.parametrize("value", [0, 7, -1, np.int64(3), np.uint8(3)])
def test_whole_numbers(value: Any) -> None:
    assert is_whole(value)


@pytest.mark.parametrize("value", [True, np.bool_(True), 1.0, np.float32(1), "1", None, [1]])
def test_what_is_no_whole_number(value: Any) -> None:
    assert not is_whole(value)


def test_counts() -> None:
    check_counts(k=(1, 1), n_boot=(np.int64(200), 2))
    with pytest.raises(FactvizError, match=r"^k=1.5 is no whole number: give 1 or more$"):
        check_counts(k=(1.5, 1))
    with pytest.raises(FactvizError, match=r"^n_boot=1 is too few: give 2 or more$"):
        check_counts(k=(1, 1), n_boot=(1, 2))


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a", True])
def test_seeds(seed: Any) -> None:
    check_seed(0)
    check_seed(np.int64(3))
    with pytest.raises(FactvizError, match="give a whole number, 0 or more"):
        check_seed(seed)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "a", None, True])
def test_shares(share: Any) -> None:
    check_shares(alpha=0, beta=np.float32(1))
    with pytest.raises(FactvizError, match=r"^alpha=.* is out of its range: give 0 to 1$"):
        check_shares(alpha=share)
