"""Write constraints.txt: every package that factviz and its extras need, as installed here.

Run it with the environment's own Python after trying out newer versions; `make constraints` does.
Walking the requirements, instead of freezing the environment, keeps out what somebody installed
by hand.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# Written by `make constraints` on Python {python}. `make setup` installs exactly these versions.
# torch stands without "+cpu": the version is pinned, which build of it fits the machine is not.
"""


def closure(root: str, extras: set[str]) -> dict[str, str]:
    """Names and versions of everything that ``root`` with ``extras`` requires here."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(root, extra) for extra in ("", *extras)]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        distribution = metadata.distribution(name)
        found[name] = distribution.version.partition("+")[0]
        for line in distribution.requires or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                queue += [(canonicalize_name(need.name), e) for e in ("", *need.extras)]
    return found


def main() -> None:
    """Write the file named on the command line."""
    pins = closure("factviz", {"lab", "sweep", "dev"})
    del pins["factviz"]
    pins["pip"] = metadata.version("pip")
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    python = ".".join(map(str, sys.version_info[:2]))
    Path(sys.argv[1]).write_text(HEADER.format(python=python) + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
