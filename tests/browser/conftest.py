"""One Chromium and one JupyterLab for all browser tests; every test has a page of its own."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import chromium
from tests.browser.jupyter import Lab, jupyterlab
from tests.browser.pages import Visit, visit
from tests.conftest import ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(420))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        # Not a skip: what the browser would have shown is then simply not known.
        pytest.fail("no Chromium: `make browser` installs one, FACTVIZ_CHROMIUM names yours")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser):
    """Open pages that reach nothing but this machine; what they tried is checked at the end."""

    @contextmanager
    def opened(**options: object) -> Generator[Visit]:
        with visit(browser, **options) as seen:
            yield seen

    return opened


@pytest.fixture(scope="session")
def keep_screenshot():
    """Save what a page looks like for people to look at; nothing compares the pixels."""
    folder = Path(os.environ.get("FACTVIZ_SCREENSHOTS") or ROOT / ".cache" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    return keep
