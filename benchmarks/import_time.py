"""How long `import factviz` takes in a fresh interpreter: the minimum of some runs."""

from __future__ import annotations

import subprocess
import sys

RUNS = 15
LIMIT = 0.2  # seconds, promised
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """Time one import in a process of its own, the interpreter's start not counted."""
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Interleave with a module of the standard library, so that a busy machine shows."""
    runs = [(seconds("factviz"), seconds("json")) for _ in range(RUNS)]
    taken, plain = (min(column) for column in zip(*runs, strict=True))
    print(f"import factviz: {taken:.3f} s (limit {LIMIT} s); import json: {plain:.3f} s")
    if taken >= LIMIT:
        sys.exit(f"import factviz takes {taken:.3f} s, not under {LIMIT} s")


if __name__ == "__main__":
    main()
