"""Looking at pages: what was fetched, what was complained about, which colours are there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route

LOCAL = {"127.0.0.1", "localhost"}


@dataclass
class Visit:
    """A page and what happened while it was open."""

    page: Page
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Block every other host; write down errors and dialogs."""

        def route(request: Route) -> None:
            address = request.request.url
            if urlsplit(address).hostname in LOCAL or not address.startswith(("http", "ws")):
                request.continue_()
            else:
                self.foreign.append(address)
                request.abort()

        self.page.route("**/*", route)
        self.page.on("pageerror", lambda error: self._complain(error.stack or str(error)))
        self.page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type == "error" else None,
        )

        def dismiss(dialog: Any) -> None:
            self.dialogs.append(dialog.message)
            dialog.dismiss()

        self.page.on("dialog", dismiss)

    def _complain(self, stack: str) -> None:
        if not jupyters_own(stack):
            self.complaints.append(stack)


def jupyters_own(stack: str) -> bool:
    """Whether an error was raised in JupyterLab's own bundle, called by nothing else.

    JupyterLab 4.6 now and then fails to remove a node of its own while a notebook opens, before any
    cell has run: that is no fault of a figure.
    """
    frames = [line for line in stack.splitlines() if line.lstrip().startswith("at ")]
    return (
        "removeChild" in stack
        and bool(frames)
        and all("/static/lab/jlab_core." in frame for frame in frames)
    )


@contextmanager
def visit(browser: Browser, **options: Any) -> Generator[Visit]:
    """A fresh page, closed afterwards; fails if it asked for anything from elsewhere."""
    context = browser.new_context(**options)
    seen = Visit(context.new_page())
    seen.watch()
    try:
        yield seen
        assert seen.foreign == []
        assert seen.dialogs == []
    finally:
        context.close()


# Background and text colour of an element as they are seen: the layers behind it laid over white.
_SEEN = """
(element) => {
  const numbers = (css) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => below.map((v, i) => top[i] * top[3] + v * (1 - top[3]));
  const layers = [];
  for (let node = element; node; node = node.parentElement)
    layers.push(numbers(getComputedStyle(node).backgroundColor));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const scheme = getComputedStyle(document.documentElement).colorScheme;
  const canvas = dark && scheme.includes("dark") ? [18, 18, 18] : [255, 255, 255];
  const back = layers.reverse().reduce((below, top) => over(top, below), canvas);
  const text = over(numbers(getComputedStyle(element).color), back);
  return { back, text, own: layers.at(-1) };
}
"""


def colours(element: Any) -> dict[str, list[float]]:
    """Red, green, blue of what is ``back`` and ``text``; ``own`` is the element's, with alpha."""
    return element.evaluate(_SEEN)


def _luminance(rgb: list[float]) -> float:
    linear = [
        v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(element: Any) -> float:
    """Contrast of an element's text with what is behind it, 1 to 21 (WCAG 2.2, 1.4.3)."""
    seen = colours(element)
    light, dark = sorted((_luminance(seen["text"]), _luminance(seen["back"])), reverse=True)
    return (light + 0.05) / (dark + 0.05)
