"""The files of a run folder that a stage wrote: how they are found, removed, and told from others.

A stage's outputs are files, folders, and patterns with `*`. Below a folder, files with names that
no stage writes, such as a user's notes, are never counted as outputs.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import is_partial, partial_path, remove_stale_partial

WRITTEN = re.compile(
    r"c|card\.md|\.z[a-z]+|\d+(\.\d+)*|events\.out\.tfevents\..+"
    r"|[^.].*\.(json|jsonl|safetensors|parquet|tif|qml|png|qgz|gpkg|html)"
)
"""Names of the files that stages write: chunks and metadata of Zarr, checkpoints, tables, maps."""

MIN_DISK = 2 * 2**30

BEFORE_A_RUN = {".lock", ".turn", ".stages", "slurm"}
"""Names in a run folder before its first stage: locks, markers, and the files of a submission."""


@dataclass(frozen=True)
class Found:
    """A file below the outputs of a stage."""

    path: Path
    is_named: bool
    """Whether an output is this file or a pattern of it, not a folder around it."""

    @property
    def may_be_written(self) -> bool:
        """Whether a stage writes files of this name."""
        return self.is_named or WRITTEN.fullmatch(self.path.name) is not None

    @property
    def is_in_store(self) -> bool:
        """Whether the file lies in a Zarr store, which its writer replaces as a whole."""
        return any(parent.suffix == ".zarr" for parent in self.path.parents)


def is_within(name: object) -> bool:
    """Whether a recorded name is that of a file in the run folder: relative, and without `..`."""
    path = Path(str(name))
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, without what a writer has not finished; links are not followed."""
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        if is_partial(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from below(Path(entry.path))
        else:
            yield Path(entry.path)


def found_files(folder: Path, outputs: Iterable[Path]) -> Iterator[Found]:
    """The files that exist below the outputs of a stage in a run folder, each once."""
    seen: set[Path] = set()
    for output in outputs:
        pattern = str(output.relative_to(folder))
        matches = sorted(folder.glob(pattern)) if "*" in pattern else [output]
        for match in matches:
            if match.is_dir() and not match.is_symlink():
                made = [Found(path, False) for path in below(match)]
            else:
                made = [Found(match, True)] if os.path.lexists(match) else []
            for one in made:
                if one.path not in seen and not is_partial(one.path.name):
                    seen.add(one.path)
                    yield one


def remove_files(folder: Path, paths: Iterable[Path], outputs: Iterable[Path] = ()) -> None:
    """Remove files of a run folder, and the folders around them and `outputs` that are then empty.

    The run folder itself stays.
    """
    parents: set[Path] = set()
    for path in paths:
        path.unlink(missing_ok=True)
        parents.add(path.parent)
    for output in outputs:
        if output.is_dir() and not output.is_symlink():
            parents |= {Path(base) for base, _, _ in os.walk(output)}
    tops = {top for parent in parents for top in (parent, *parent.parents) if folder in top.parents}
    for parent in sorted(tops, key=lambda path: len(path.parts), reverse=True):
        try:
            parent.rmdir()
        except OSError:
            continue  # it holds other files, or is gone


def remove_abandoned(folder: Path) -> None:
    """Remove the half-written files that killed writers left anywhere in a run folder."""
    for base, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if is_partial(name)]:
            remove_stale_partial(Path(base, name))
        folders[:] = [name for name in folders if not is_partial(name)]


def require_inside(folder: Path, outputs: Iterable[Path]) -> None:
    """Raise `InputError` for outputs that symlinks put outside the run folder.

    A stage removes its outputs of other settings, which must not happen elsewhere.
    """
    home = folder.resolve()
    faults = Faults()
    seen: set[Path] = set()
    for path in outputs:
        around = [one for one in reversed(path.parents) if folder in one.parents]
        inside = sorted(path.glob("*")) if path.is_dir() else []
        for item in (*around, path, *inside):
            if item in seen:
                continue
            seen.add(item)
            target = item.resolve()
            if not target.is_relative_to(home):
                faults.add(
                    str(item), f"a link to {target}", "outputs within the run folder",
                    "Remove the link; to write elsewhere, set roots.runs, or link the run folder.",
                )  # fmt: skip
    faults.raise_if_any()


def require_run_folder(folder: Path, log: Path | None = None) -> None:
    """Raise `InputError` for a folder with files of which no stage has written any.

    `log` is a file that may be there already.
    """
    if not folder.is_dir() or (folder / ".stages").is_dir():
        return
    known = {*BEFORE_A_RUN, *([log.name] if log is not None and log.parent == folder else [])}
    try:
        others = sorted({path.name for path in folder.iterdir()} - known)
    except OSError:
        return  # reported where it is written to
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
        raise bad_input(
            str(folder), f"a folder that is no run and holds {shown}", "a new or an empty folder",
            "Choose another name with --set name=..., or another folder with roots.runs.",
        )  # fmt: skip


def check_folder(folder: Path, log: Path | None, faults: Faults) -> None:
    """Add a fault for a run folder that cannot be written or whose disk is nearly full.

    Raises `InputError` for a folder that is no run, apart from the `log` file.
    """
    # Before the probe below: nothing is written into a folder that is no run.
    require_run_folder(folder, log)
    probe = partial_path(folder / "write-test")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        faults.add(
            str(folder), f"a folder that cannot be written ({error.strerror})",
            "a writable run folder",
            "Set roots.runs, or the environment variable STEFALAND_RUNS, to another folder.",
        )  # fmt: skip
        return
    free = shutil.disk_usage(folder).free
    if free < MIN_DISK:
        faults.add(
            str(folder), f"{free / 2**30:.1f} GiB of free disk",
            f"at least {MIN_DISK / 2**30:.0f} GiB",
        )  # fmt: skip
