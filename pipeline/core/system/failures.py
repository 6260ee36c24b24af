"""Errors of the operating system as faults: full disks, quotas, missing rights, damaged disks.

Libraries that write in C often hide the number of such an error in a text, or report nothing at
all: GDAL never says that a disk is full.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import Fault, InputError

HOPELESS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG),
}
"""Errors of a full disk, an exhausted quota or missing rights, which no retry can fix."""
NO_SPACE = 1 << 18
"""Free bytes below which an error of a library that states no reason is one of a full disk."""
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
_LIBRARIES = ("rasterio", "pyogrio", "sqlite3", "safetensors", "pyarrow")
_TEXTS = {
    errno.ENOSPC: r"No space left on device|os error 28\b|database or disk is full",
    errno.EDQUOT: r"Disk quota exceeded|os error 122\b",
    errno.EROFS: r"Read-only file system|os error 30\b|readonly database",
    errno.EACCES: r"Permission denied|os error 13\b",
    errno.EMFILE: r"Too many open files|os error 24\b",
    errno.EIO: r"Input/output error|os error 5\b|disk I/O error",
}
_HINTS = {
    errno.EIO: "The disk, or the connection to it, fails: check it, then run again.",
    errno.ENAMETOOLONG: "Choose shorter names, or a run folder (roots.runs) with a shorter path.",
    **dict.fromkeys(_NO_MORE_FILES, "Raise the limit on open files (`ulimit -n 4096`), or use "
                    "fewer workers, then run again."),
}  # fmt: skip
_WRITABLE = "a writable folder with free space"
_FREE = (
    "Free space or choose another folder (roots.runs of a run, --into of a fetch, STEFALAND_CACHE "
    "for copies), then run again: what is complete stays."
)


def error_number(error: BaseException) -> int | None:
    """Return the number of the system's error behind an error of any library; None without one.

    >>> error_number(RuntimeError("I/O error: No space left on device (os error 28)"))
    28
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno is not None:
            return one.errno
        if isinstance(one, OSError | RuntimeError) or type(one).__module__.startswith(_LIBRARIES):
            for number, text in _TEXTS.items():
                if re.search(text, str(one)):
                    return number
    return None


def unwritable(error: Exception, path: Path, needed: int | None = None) -> Fault | None:
    """Return the fault of a path that cannot be written, None for errors of other kinds.

    An error of a library without a reason counts as a full disk where nothing is free, or less
    than the bytes `needed`, if these are known.
    """
    if isinstance(error, InputError):
        return None
    number = error_number(error)
    if number is None and _has_no_reason(error) and _free(path) < max(NO_SPACE, needed or 0):
        number = errno.ENOSPC
    if number is None or number not in HOPELESS:
        return None
    found = f"a path that cannot be written ({os.strerror(number)})"
    if number in (errno.ENOSPC, errno.EDQUOT):
        found = _full(number, path, needed)
    return Fault(str(path), found, _WRITABLE, _HINTS.get(number, _FREE))


def full_disk(path: Path, needed: int) -> Fault | None:
    """Return the fault of a disk with fewer than `needed` bytes free; None if there are as many."""
    if _free(path) >= needed:
        return None
    return Fault(str(path), _full(errno.ENOSPC, path, needed), _WRITABLE, _FREE)


def _full(number: int, path: Path, needed: int | None) -> str:
    found = f"a disk that is full ({os.strerror(number)}), with {_free(path):,} bytes free"
    return f"{found} of {needed:,} needed" if needed else found


def system_fault(error: BaseException) -> Fault | None:
    """Return the fault of an error of the system wherever it arose, None for other errors."""
    if is_out_of_memory(error):
        return out_of_memory("this process", error)
    number = error_number(error)
    if number not in {*HOPELESS, *_NO_MORE_FILES, errno.EIO} - {errno.EPERM}:
        return None
    files = (one.filename for one in _chain(error) if isinstance(one, OSError) and one.filename)
    where, full = str(next(files, "this machine")), number in (errno.ENOSPC, errno.EDQUOT)
    found = f"{'a disk that is full' if full else 'a failure'} ({os.strerror(number or 0)})"
    hint = _HINTS.get(number or 0, "Free space or change the rights, then run again: what is "
                      "finished stays.")  # fmt: skip
    return Fault(where, found, "files that can be read and written", hint)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy, PyTorch or CUDA is a lack of memory.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and bool(re.search(r"can't allocate memory|not enough memory|out of memory", str(error)))
    )


def out_of_memory(where: str, error: BaseException, hint: str = "") -> Fault:
    """Return the fault of a lack of memory; the text of `error` often states the bytes asked for.

    The default hint names the settings that reduce memory.
    """
    asked = f" ({str(error).strip().splitlines()[0]})" if str(error).strip() else ""
    hint = hint or (
        "Use fewer workers (cluster.workers), smaller batches (batch_size) or smaller tiles "
        "(cubes.NAME.tile)."
    )
    return Fault(where, f"too little memory{asked}", f"more than the {free_memory()} free", hint)


def free_memory() -> str:
    """Return the memory that is available at present, as text."""
    import psutil

    return f"{psutil.virtual_memory().available / 2**30:.2f} GiB"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _has_no_reason(error: Exception) -> bool:
    """Whether an error is of the system or of a library that writes, not of wrong arguments."""
    return isinstance(error, OSError | RuntimeError) or type(error).__module__.startswith(
        _LIBRARIES
    )


def _free(path: Path) -> int:
    for folder in (path, *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return NO_SPACE
