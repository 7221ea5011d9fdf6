"""A missing browser ends the run with what to do; it never becomes a skipped test."""

from __future__ import annotations

import pytest

from tests.browser import chromium


def test_nothing_found_and_nothing_installed_is_a_failure(monkeypatch):
    monkeypatch.setattr(chromium, "find", lambda: None)
    monkeypatch.setattr(chromium, "_installers", lambda: [[["false"]], [["true"]]])
    with pytest.raises(SystemExit, match=r"No Chromium.*Tried: false; true"):
        chromium.ensure()


def test_it_is_installed_where_it_is_missing(monkeypatch):
    found = iter([None, "/somewhere/chromium"])
    monkeypatch.setattr(chromium, "find", lambda: next(found))
    monkeypatch.setattr(chromium, "_installers", lambda: [[["true"]]])
    assert chromium.ensure() == "/somewhere/chromium"


def test_a_program_that_does_not_start_is_not_a_browser(monkeypatch, tmp_path):
    stub = tmp_path / "chromium"
    stub.write_text("#!/bin/sh\necho 'Command requires the snap to be installed.'\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setattr(chromium, "NAMES", (str(stub),))
    monkeypatch.setattr(chromium, "_playwright_own", lambda: None)
    monkeypatch.delenv("FACTVIZ_CHROMIUM", raising=False)
    assert chromium.find() is None
