"""Find the Chromium that the tests drive; run as a program, install it where there is none.

A missing browser is a failure of the run, never a reason to skip: ``make test`` calls this first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = [
    "--no-sandbox",  # the tests run as root in containers
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",  # a container's /dev/shm is too small for a page
]
HELP = """\
No Chromium for the browser tests. Tried: {tried}.
Install one (Debian: apt-get install chromium), or name yours in FACTVIZ_CHROMIUM, and run again."""


def _runs(path: str | None) -> bool:
    # Where Chromium comes as a snap, the program of that name only says so.
    if not path:
        return False
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"Chrom" in done.stdout


def _playwright_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def find() -> str | None:
    """The program to start: $FACTVIZ_CHROMIUM, one on the PATH, or Playwright's own."""
    for name in (os.environ.get("FACTVIZ_CHROMIUM"), *NAMES):
        path = shutil.which(name) if name else None
        if _runs(path):
            return path
    own = _playwright_own()
    return own if _runs(own) else None


def _installers() -> list[list[list[str]]]:
    """Ways to install it, best first; each is a list of commands."""
    ways = [[[sys.executable, "-m", "playwright", "install", "chromium"]]]
    root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if shutil.which("apt-get") and (not root or shutil.which("sudo")):
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes"]
        install = [*apt, "install", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
        ways.insert(0, [[*apt, "update"], install])
    return ways


def ensure() -> str:
    """The program to start, installed first if need be; ends the process if that fails."""
    tried = []
    for way in [[], *_installers()]:
        if all(subprocess.run(command, check=False).returncode == 0 for command in way):
            path = find()
            if path:
                return path
        tried += [" ".join(command) for command in way]
    sys.exit(HELP.format(tried="; ".join(tried)))


if __name__ == "__main__":
    sys.stdout.write(f"Chromium for the browser tests: {ensure()}\n")
