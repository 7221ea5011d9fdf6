"""What the harness itself passes over, and what not."""

from __future__ import annotations

from tests.browser.pages import jupyters_own

OWN = """NotFoundError: Failed to execute 'removeChild' on 'Node'
    at http://h/static/lab/jlab_core.1.js:1:2"""


def test_only_jupyters_own_errors_are_passed_over():
    assert jupyters_own(OWN)
    assert not jupyters_own(OWN + "\n    at blob:http://h/1:3:4")
    assert not jupyters_own(OWN.splitlines()[0])
    assert not jupyters_own(OWN.replace("removeChild", "appendChild"))
