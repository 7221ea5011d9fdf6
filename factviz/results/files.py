"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
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


def checked_target(path: str | os.PathLike[str]) -> Path:
    """The file that will be made or replaced: behind links, in a folder that is there.

    Raises
    ------
    FactvizError
        If it is a folder, a pipe or a device, or it or its folder may not be written.
    """
    try:
        target = Path(os.path.realpath(Path(path).expanduser()))
        if target.is_dir():
            raise FactvizError(f"cannot save to {shown(str(path))!r}: it is a folder")
        if not target.parent.is_dir():
            raise FactvizError(
                f"cannot save to {shown(str(path))!r}: there is no folder"
                f" {shown(str(target.parent))!r}; create it first"
            )
        _check_access(path, target)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, FactvizError):
            raise
        raise FactvizError(f"cannot save to {shown(str(path))!r}: {error}") from None
    return target


def _check_access(path: str | os.PathLike[str], target: Path) -> None:
    name = shown(str(path))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FactvizError(
            f"cannot save to {name!r}: the folder {shown(str(target.parent))!r} may not be written;"
            " choose another"
        )
    if not target.exists():
        return
    mode = target.stat().st_mode
    if not stat.S_ISREG(mode):
        raise FactvizError(
            f"cannot save to {name!r}: it is a pipe, a device or a socket, not a file; choose"
            " another name"
        )
    # The mode itself, because a superuser's access would hide what the owner meant.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise FactvizError(
            f"cannot save to {name!r}: the file is protected (mode {stat.S_IMODE(mode):04o}); make"
            " it writable or choose another name"
        )


def _protect_like(descriptor: int, old: os.stat_result) -> None:
    """Give a new file the owner, group and mode of the file it replaces, as far as one may."""
    for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, group)
    mode = stat.S_IMODE(old.st_mode) & 0o777
    if os.fstat(descriptor).st_gid != old.st_gid:
        mode &= ~0o070  # what one group could read must not go to another
    os.fchmod(descriptor, mode)


def write_whole(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` so that `path` holds either all of it or what it held before.

    The bytes go to a temporary file in the same folder, which then takes the name: a full disk, a
    kill or a second writer leaves no half file. A file that was there keeps its protection.

    Raises
    ------
    FactvizError
        If the folder is missing or the file cannot be written; says why in one line.
    """
    target = checked_target(path)
    # Not tempfile: its files are private (0600), and a new figure follows the user's umask.
    temporary = target.parent / f".factviz-{secrets.token_hex(8)}.tmp"
    try:
        old = target.stat() if target.exists() else None
        start = 0o666 if old is None else 0o600
        with open(
            temporary, "xb", opener=lambda name, flags: os.open(name, flags, start)
        ) as stream:
            if old is not None and os.name == "posix":
                _protect_like(stream.fileno(), old)
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
