from __future__ import annotations

import pytest

from factviz.facts.errors import FactvizError
from factviz.results import options
from factviz.results.versions import show_versions


@pytest.fixture(autouse=True)
def _restored():
    with options.options(display="html"):
        yield


def test_as_a_call():
    options.options(display="png")
    assert options.display() == "png"


def test_inside_a_block_only():
    with options.options(display="table"):
        assert options.display() == "table"
        with options.options(display="png"):
            assert options.display() == "png"
        assert options.display() == "table"
    assert options.display() == "html"


def test_an_error_inside_restores_too():
    with pytest.raises(RuntimeError), options.options(display="table"):
        raise RuntimeError
    assert options.display() == "html"


def test_an_unknown_display_is_refused_and_changes_nothing():
    with pytest.raises(FactvizError, match="'html', 'table', 'png'"):
        options.options(display="gif")
    assert options.display() == "html"


def test_versions_print_as_a_list():
    found = show_versions()
    lines = repr(found).splitlines()
    assert lines[0].startswith("python")
    assert any(line.split() == ["numpy", found["numpy"]] for line in lines)
    assert "/" not in found.text and "<" not in found.text
