"""unfit_path(): why nothing can be read from a path, found without opening it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip
"""Kinds of paths at which a reader would wait, perhaps for ever."""


def unfit_path(path: Path) -> tuple[str, str] | None:
    """Return what is found instead of a file or folder that can be read, and a hint.

    None for what can be read and for what does not exist.

    >>> unfit_path(Path("/dev/null"))
    ('a device', 'Copy what it yields into a file, and name that.')
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        return f"a link to {os.readlink(path)}, which does not exist", "Correct the link."
    except NotADirectoryError:
        return None
    except OSError as error:
        return unreadable_path(error)
    if kind := next((name for is_kind, name in KINDS if is_kind(mode)), None):
        return kind, "Copy what it yields into a file, and name that."
    needed = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
    if os.access(path, needed):
        return None
    return unreadable_path(PermissionError(13, os.strerror(13)))


def unreadable_path(error: OSError) -> tuple[str, str]:
    """Return what is found at a path that the system does not let be read, and a hint."""
    hint = "Check that its disk or server answers."
    if isinstance(error, PermissionError):
        hint = "Change its rights, and those of its folders (`chmod u+rX`)."
    if "name" in str(error.strerror) or "links" in str(error.strerror):
        hint = "Correct the path or its links."
    return f"a path that cannot be read ({error.strerror})", hint
