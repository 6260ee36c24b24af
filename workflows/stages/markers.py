"""Markers in the run folder: which stages are finished, under which fingerprint, at what cost.

It also has the lock of the run folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError, bad_input, listed
from pipeline.core.files import UnwritableError, partial_path, read_json, write_json, writing
from pipeline.execution.ledger import Ledger
from workflows.console import CONSOLE
from workflows.fingerprints import version
from workflows.stages.manifest import Damage, Manifest, mend, seal, sha256
from workflows.stages.owned import (
    Found,
    found_files,
    is_within,
    remove_files,
    require_inside,
    require_run_folder,
)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


class StageState:
    """Markers of one stage of a run: `started` and, at the end, `finished` with its manifest.

    Both have the fingerprint of the settings, the version, and the settings themselves. A stage
    whose started fingerprint differs from the present one starts from scratch: its outputs are
    removed, so that results of two settings never mix. Only files are removed that its manifest
    lists, or, where the stage has not finished, that have names which it writes.

    Markers of version 0.2.0, which recorded no version, are compared with the fingerprint that
    `released` returns: what that version finished stays finished.
    """

    def __init__(
        self, folder: Path, stage: str, fingerprint: str, released: Callable[[], str] | None = None
    ) -> None:
        self.folder = folder / ".stages"
        self.stage = stage
        self.fingerprint = fingerprint
        self._released = released

    def _marker(self, kind: str) -> Path:
        return self.folder / f"{self.stage}.{kind}.json"

    def _read(self, kind: str) -> dict[str, Any]:
        marker = self._marker(kind)
        found = read_json(marker) if marker.exists() else {}
        if not isinstance(found, dict):
            raise bad_input(
                str(marker), f"a {type(found).__name__}", "the marker of a stage, an object",
                "Delete it and run the same command again.",
            )  # fmt: skip
        outputs = found.get("outputs", [])
        if not isinstance(outputs, list) or not all(map(_is_name, outputs)):
            raise bad_input(
                f"{marker}: outputs", repr(outputs)[:80], "names of files of the run",
                "Delete it and run the same command again.",
            )  # fmt: skip
        return found

    def _matches(self, kind: str) -> bool:
        found, released = self._read(kind), self._released
        is_old = bool(found) and "version" not in found
        return found.get("fingerprint") == (
            released() if is_old and released is not None else self.fingerprint
        )

    @property
    def was_finished(self) -> bool:
        """Whether the stage finished under the same settings."""
        return self._matches("finished")

    @property
    def is_finished(self) -> bool:
        """Whether the stage finished under the same settings and its outputs still exist."""
        return self.was_finished and not self.lost()

    @property
    def is_started(self) -> bool:
        """Whether the stage has started, and perhaps finished, under the same settings."""
        return self._matches("started")

    def begun(self) -> dict[str, Any]:
        """The marker of the last start or finish under any settings; empty without one."""
        return self._read("started") or self._read("finished")

    def known(self) -> dict[str, Any]:
        """The marker `begun`, or that of a stage that runs again because one before it did."""
        return self.begun() or self._read("withdrawn")

    def manifest(self) -> Manifest | None:
        """The manifest of the stage; None without one, as of stages that version 0.2.0 finished.

        Raises `InputError` for a manifest that was damaged.
        """
        path = self._marker("manifest")
        return Manifest.load(path) if path.exists() else None

    def lost(self) -> list[Path]:
        """Outputs that existed when the stage finished and are missing now."""
        found = []
        try:
            manifest = self.manifest()
            if manifest is not None:
                found = manifest.lost(self.folder.parent)
            elif "manifest" in self.record():
                found = [self._marker("manifest")]
        except InputError:
            found = [self._marker("manifest")]
        paths = [self.folder.parent / name for name in self.record().get("outputs", [])]
        return list(dict.fromkeys([*(path for path in paths if not path.exists()), *found]))

    def damage(self, deep: bool = False) -> list[Damage]:
        """What was lost or changed since the stage finished; other bytes only with `deep`."""
        sealed = self.record().get("manifest")
        path = self._marker("manifest")
        if sealed is not None and sha256(path) != sealed:
            return [Damage(f".stages/{path.name}", "was lost or changed")]
        manifest = self.manifest()
        if manifest is None:
            home = self.folder.parent
            return [Damage(str(path.relative_to(home)), "is missing") for path in self.lost()]
        return manifest.damage(self.folder.parent, deep)

    def mend(self, damage: Iterable[Damage]) -> bool:
        """Remove what is damaged, so that the stage makes it again; returns whether it resumes.

        Files that no stage needs are removed without that the stage runs again: it stays finished
        where nothing else is damaged.
        """
        damage, home = list(damage), self.folder.parent
        needed = [one for one in damage if not one.is_spare]
        try:
            manifest = self.manifest()
        except InputError:
            manifest = None
        if manifest is None or any(one.file.startswith(".stages/") for one in needed):
            return not needed
        mend(home, manifest, damage)
        if not needed:
            self._seal(manifest, {one.file for one in damage})
        return True

    def _seal(self, manifest: Manifest, gone: Set[str]) -> None:
        """Seal the finished stage again, with its manifest but for the files that are `gone`."""
        record, finished = self.record(), self._marker("finished")
        record["outputs"] = [name for name in record["outputs"] if name not in gone]
        # Withdrawn first: a finished stage always has the manifest that its marker names.
        aside = partial_path(finished)
        finished.rename(aside)
        try:
            record["manifest"] = manifest.without(gone).save(self._marker("manifest"))
        except UnwritableError:
            aside.rename(finished)
            raise
        write_json(finished, record)
        aside.unlink()

    def record(self) -> dict[str, Any]:
        """Outputs, seconds, peak memory and result of the finished stage; empty if unfinished."""
        return self._read("finished")

    def start(
        self, outputs: list[Path], resume: bool, settings: Mapping[str, Any] | None = None
    ) -> bool:
        """Mark the stage as started; returns whether it resumes.

        Removes its `outputs` if they are of other settings, or without `resume`. `settings` are
        recorded, so that a later run can list which of them differ. Raises `InputError` where a
        file that no stage wrote would be replaced.
        """
        home = self.folder.parent
        resumes = resume and self.is_started
        made = [home / name for name in self.known().get("outputs", []) if is_within(name)]
        require_inside(home, made)
        found = list(found_files(home, dict.fromkeys([*outputs, *made])))
        ours = {one.path for one in found if self._is_ours(one)}
        kept = self._require_no_strangers([one for one in found if one.path not in ours])
        self._take_over({str(one.path.relative_to(home)) for one in found if one.is_named})
        if resumes:
            return True
        self.withdraw()
        remove_files(home, sorted(ours), [*outputs, *made])
        for kind in ("manifest", "withdrawn"):
            self._marker(kind).unlink(missing_ok=True)
        record = {
            "fingerprint": self.fingerprint,
            "version": version(),
            "outputs": [str(path.relative_to(home)) for path in outputs],
            "kept": kept,
            "settings": dict(settings or {}),
        }
        write_json(self._marker("started"), record)
        return False

    def _is_ours(self, one: Found) -> bool:
        """Whether a stage of the run wrote the file: by a manifest, or as a marker allows."""
        name = str(one.path.relative_to(self.folder.parent))
        if any(manifest.owns(name) for manifest in self._manifests.values()):
            return True
        if self.stage in self._manifests:
            return False
        may_have = self._has_begun and name not in self.known().get("kept", [])
        return may_have and one.may_be_written

    @cached_property
    def _manifests(self) -> dict[str, Manifest]:
        """The manifests of all stages of the run, by stage."""
        found = {}
        for path in sorted(self.folder.glob("*.manifest.json")):
            with suppress(InputError):
                found[path.name.removesuffix(".manifest.json")] = Manifest.load(path)
        return found

    @cached_property
    def _has_begun(self) -> bool:
        """Whether the stage may have written files: by its markers, or in a run of 0.2.0."""
        kinds = ("started", "finished", "withdrawn")
        # Version 0.2.0 kept no marker of a stage that has to run again.
        return any(self._marker(kind).exists() for kind in kinds) or any(
            "version" not in read_json(path) for path in self.folder.glob("*ed.json")
        )

    def _require_no_strangers(self, others: Iterable[Found]) -> list[str]:
        """The files that stay; `InputError` for those that the stage would replace."""
        home, others = self.folder.parent, list(others)
        names = [str(one.path.relative_to(home)) for one in others]
        replaced = [name for name, one in zip(names, others, strict=True)
                    if one.is_named or one.is_in_store]  # fmt: skip
        if replaced:
            raise bad_input(
                str(home), f"files that no stage of this run wrote: {listed(replaced)}",
                f"only files of this run where the stage {self.stage} writes",
                "Move them elsewhere.",
            )  # fmt: skip
        return names

    def withdraw(self, resumable: bool = False) -> bool:
        """Mark the stage as unfinished under any settings; returns whether it was finished.

        Its next run starts from scratch, unless it is `resumable`.
        """
        was_finished = self._marker("finished").exists()
        if not resumable and (known := self.begun()):
            # What the stage has written stays known as its own.
            write_json(self._marker("withdrawn"), {**known, "fingerprint": ""})
            self._marker("started").unlink(missing_ok=True)
        self._marker("finished").unlink(missing_ok=True)
        return was_finished

    def finish(
        self, seconds: float, peak_bytes: int, result: dict[str, Any],
        outputs: Iterable[Path] = (), stores: Mapping[Path, Ledger] | None = None,
    ) -> None:  # fmt: skip
        """Mark the stage as finished, with its cost, its result and the manifest of its `outputs`.

        `stores` are those that were filled tile by tile, with their ledgers. Raises `InputError`
        where shards of them are missing.
        """
        home, outputs, started = self.folder.parent, list(outputs), self._read("started")
        found = [one for one in found_files(home, outputs) if self._is_new(one, started)]
        manifest = seal(home, found, stores or {})
        record = {
            "outputs": [str(path.relative_to(home)) for path in outputs if path.exists()],
            "fingerprint": self.fingerprint,
            "version": started.get("version", version()),
            "seconds": round(seconds, 2),
            "peak_bytes": peak_bytes,
            "result": result,
            "manifest": manifest.save(self._marker("manifest")),
        }
        write_json(self._marker("finished"), record)

    def _is_new(self, one: Found, started: Mapping[str, Any]) -> bool:
        """Whether this stage wrote a file, not the user nor, in its outputs, another stage."""
        name = str(one.path.relative_to(self.folder.parent))
        others = (of for stage, of in self._manifests.items() if stage != self.stage)
        return name not in started.get("kept", []) and (
            one.is_named or not any(other.owns(name) for other in others)
        )

    def _take_over(self, names: set[str]) -> None:
        """Take files from the manifests of other stages: this stage writes them anew."""
        for stage, manifest in self._manifests.items():
            if stage == self.stage or not (taken := names & manifest.files.keys()):
                continue
            other = StageState(self.folder.parent, stage, "")
            if other.record():
                other._seal(manifest, taken)
            else:
                manifest.without(taken).save(other._marker("manifest"))


@contextmanager
def run_lock(folder: Path, shared: bool = False) -> Iterator[None]:
    """Lock the run folder; `InputError` where it is locked, cannot be written, or is no run.

    Parts of one stage lock it `shared`: they may run side by side, but not beside a whole run.
    """
    require_run_folder(folder, CONSOLE.log_file)
    lock = folder / ".lock"
    try:
        (folder / ".stages").mkdir(parents=True, exist_ok=True)
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
        with writing(lock):
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), f"process {os.getpid()}".encode())
        yield


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Let one process at a time pass: the parts of a stage start it one after another."""
    with (folder / ".turn").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
