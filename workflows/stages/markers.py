"""Markers in the run folder: which stages are finished, under which fingerprint, at what cost.

It also has the lock of the run folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import read_json, write_json


class StageState:
    """Markers of one stage of a run: `started` with its fingerprint, and `finished` at the end.

    A stage whose started fingerprint differs from the present one, or that has lost an output since
    it finished, starts from scratch: its outputs are removed, so that results of two settings never
    mix and no lost tile counts as done.
    """

    def __init__(self, folder: Path, stage: str, fingerprint: str) -> None:
        self.folder = folder / ".stages"
        self.stage = stage
        self.fingerprint = fingerprint

    def _marker(self, kind: str) -> Path:
        return self.folder / f"{self.stage}.{kind}.json"

    def _matches(self, kind: str) -> bool:
        marker = self._marker(kind)
        return marker.exists() and read_json(marker).get("fingerprint") == self.fingerprint

    @property
    def is_finished(self) -> bool:
        """Whether the stage finished under the same settings and its outputs still exist."""
        return self._matches("finished") and not self.lost()

    def lost(self) -> list[Path]:
        """Outputs that existed when the stage finished and are missing now."""
        paths = [self.folder.parent / name for name in self.record().get("outputs", [])]
        return [path for path in paths if not path.exists()]

    def record(self) -> dict[str, Any]:
        """Outputs, seconds, peak memory and result of the finished stage; empty if unfinished."""
        return read_json(self._marker("finished")) if self._marker("finished").exists() else {}

    def start(self, outputs: list[Path], resume: bool) -> bool:
        """Mark the stage as started; returns whether it resumes.

        Removes its `outputs` if they are of other settings, without `resume`, or if some were lost.
        """
        if resume and self._matches("started") and not self.lost():
            return True
        self.withdraw()
        for path in outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        write_json(self._marker("started"), {"fingerprint": self.fingerprint})
        return False

    def withdraw(self, resumable: bool = False) -> bool:
        """Mark the stage as unfinished under any settings; returns whether it was finished.

        Its next run starts from scratch, unless it is `resumable`.
        """
        was_finished = self._marker("finished").exists()
        self._marker("finished").unlink(missing_ok=True)
        if not resumable:
            self._marker("started").unlink(missing_ok=True)
        return was_finished

    def finish(
        self, seconds: float, peak_bytes: int, result: dict[str, Any], outputs: Iterable[Path] = ()
    ) -> None:
        """Mark the stage as finished, with its cost, its result and its existing `outputs`."""
        home = self.folder.parent
        record = {
            "outputs": [str(path.relative_to(home)) for path in outputs if path.exists()],
            "fingerprint": self.fingerprint,
            "seconds": round(seconds, 2),
            "peak_bytes": peak_bytes,
            "result": result,
        }
        write_json(self._marker("finished"), record)


def require_inside(folder: Path, outputs: Iterable[Path]) -> None:
    """Raise `InputError` for outputs that symlinks put outside the run folder.

    A stage removes its outputs of other settings, which must not happen elsewhere.
    """
    home = folder.resolve()
    faults = Faults()
    for path in outputs:
        below = sorted(path.glob("*")) if path.is_dir() else []
        for item in dict.fromkeys([path.parent, path, *below]):
            target = item.resolve()
            if not target.is_relative_to(home):
                faults.add(
                    str(item), f"a link to {target}", "outputs within the run folder",
                    "Remove the link; to write elsewhere, set roots.runs, or link the run folder.",
                )  # fmt: skip
    faults.raise_if_any()


@contextmanager
def run_lock(folder: Path, shared: bool = False) -> Iterator[None]:
    """Lock the run folder; `InputError` where it is locked already or cannot be written.

    Parts of one stage lock it `shared`: they may run side by side, but not beside a whole run.
    """
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a+")
    except OSError as error:
        raise bad_input(
            str(folder),
            f"a folder that cannot be written ({error.strerror})",
            "a writable run folder",
            "Set roots.runs, or the environment variable STEFALAND_RUNS, to another folder.",
        ) from None
    with handle:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise bad_input(
                str(folder),
                f"a run in progress ({holder})",
                "one run in a folder at a time",
                "Wait for it, or name this run otherwise with --set name=...",
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        yield


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Let one process at a time pass: the parts of a stage start it one after another."""
    with (folder / ".turn").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
