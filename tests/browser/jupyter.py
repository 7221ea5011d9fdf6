"""A JupyterLab of its own for the tests: nothing of the user's, gone as a whole afterwards."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SETTINGS = {
    # Cells outside the window would not be in the page, and could not be looked at.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# Any attempt to leave the machine fails at once: port 9 of localhost discards.
NO_NETWORK = {
    name: value
    for low, value in (
        ("http_proxy", "http://127.0.0.1:9"),
        ("https_proxy", "http://127.0.0.1:9"),
        ("no_proxy", "127.0.0.1,localhost"),
    )
    for name in (low, low.upper())
}


@dataclass(frozen=True)
class Lab:
    """A running server: where it is, and the folder it serves."""

    url: str
    token: str
    folder: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        """The application, in a workspace that nobody used before."""
        return f"{self.url}lab/workspaces/{secrets.token_hex(4)}?token={self.token}"

    def place(self, source: Path, name: str) -> None:
        """Copy a notebook here under a name of its own.

        The name is also written into it: Jupyter trusts by content, so a copy of a notebook that
        was signed would be trusted too.
        """
        notebook = json.loads(source.read_text(encoding="utf-8"))
        notebook["metadata"]["factviz_test"] = name
        (self.folder / name).write_text(json.dumps(notebook), encoding="utf-8")

    def trust(self, notebook: str) -> None:
        """Sign a notebook, as a reader would who believes its author."""
        subprocess.run(
            [sys.executable, "-m", "jupyter", "trust", notebook],
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
        )


def environment(base: Path) -> dict[str, str]:
    """Every folder that Jupyter, IPython, matplotlib or a cache would take from the user."""
    places = {
        "HOME": "home",
        "XDG_CACHE_HOME": "cache",
        "IPYTHONDIR": "ipython",
        "MPLCONFIGDIR": "matplotlib",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    for name in places.values():
        (base / name).mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    # So that a missing piece of the model would be noticed, not quietly forbidden.
    clean.pop("HF_HUB_OFFLINE", None)
    own = {name: str(base / folder) for name, folder in places.items()}
    return clean | own | NO_NETWORK | {"OMP_WAIT_POLICY": "passive"}


def _write_settings(folder: Path) -> None:
    for name, values in SETTINGS.items():
        file = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")


def _announced(runtime: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """What the server wrote down once it listened; port 0 lets it choose."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                pass  # half written
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with its kernels: first asked, then made to."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait()


@contextmanager
def jupyterlab(base: Path) -> Generator[Lab]:
    """Run JupyterLab on a port and with a token of its own, serving ``base / "work"``."""
    own = environment(base)
    _write_settings(Path(own["JUPYTERLAB_SETTINGS_DIR"]))
    folder, log = base / "work", base / "jupyter.log"
    folder.mkdir()
    token = secrets.token_hex(16)
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", "--port=0", f"--IdentityProvider.token={token}"),
        *(f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"),
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=own, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            info = _announced(Path(own["JUPYTER_RUNTIME_DIR"]), process, log)
            yield Lab(info["url"].replace("localhost", "127.0.0.1"), token, folder, own)
        finally:
            _end(process)
