"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from factviz.facts.errors import FactvizError
from factviz.results.shown import shown


def checked_suffix(path: str | os.PathLike[str], suffixes: Sequence[str]) -> str:
    """The suffix of `path` in small letters.

    Raises
    ------
    FactvizError
        If it is none of `suffixes`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise FactvizError(
            f"cannot save as {shown(Path(path).name)!r}: the suffix {shown(suffix)!r} is not one of"
            f" {', '.join(suffixes)}"
        )
    return suffix


def _target(path: str | os.PathLike[str]) -> Path:
    """The file that will be replaced: behind links, in a folder that is there."""
    try:
        target = Path(os.path.realpath(Path(path).expanduser()))
        if target.is_dir():
            raise FactvizError(f"cannot save to {shown(str(path))!r}: it is a folder")
        if not target.parent.is_dir():
            raise FactvizError(
                f"cannot save to {shown(str(path))!r}: there is no folder"
                f" {shown(str(target.parent))!r}; create it first"
            )
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, FactvizError):
            raise
        raise FactvizError(f"cannot save to {shown(str(path))!r}: {error}") from None
    return target


def write_whole(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` so that `path` holds either all of it or what it held before.

    The bytes go to a temporary file in the same folder, which then takes the name: a full disk, a
    kill or a second writer leaves no half file.

    Raises
    ------
    FactvizError
        If the folder is missing or the file cannot be written; says why in one line.
    """
    target = _target(path)
    # Not tempfile: its files are private (0600), and a figure follows the user's umask.
    temporary = target.parent / f".factviz-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, (OSError, ValueError)):
            reason = getattr(error, "strerror", None) or str(error)
            raise FactvizError(
                f"could not save {shown(str(path))!r} ({reason}); nothing was changed"
            ) from None
        raise
    return target
