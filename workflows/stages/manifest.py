"""The manifest of a finished stage: every file that it wrote, with its size and SHA-256.

Shards of cubes are not listed: the ledger has the digest of each, the manifest their numbers and
bytes. By it a start of a run finds what was lost or changed, and a stage refuses changed inputs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError, bad_input, listed
from pipeline.core.files import digest_of, read_json, write_json
from pipeline.cube.integrity import lost_tiles, verify_cube
from pipeline.execution.ledger import Ledger
from stefaland.checkpoints.names import CARD, CONFIG, DATA, WEIGHTS
from workflows.stages.owned import Found, below, is_within, remove_files

LOG, EVENTS = "log.jsonl", "events.out.tfevents."
"""Name of a training's log, and the beginning of TensorBoard's: later runs append to them."""
TRAINED, CHECKPOINT = ("pretrained", "finetuned"), (WEIGHTS, CONFIG, DATA, CARD)
SMALL = 1 << 18
"""Size in bytes up to which files are read at every start of a run."""
DAMAGED = ("unfinished", "hole", "corrupt", "changed")
"""Kinds of problems of a cube for which its tiles are computed again."""


@dataclass(frozen=True)
class Damage:
    """A file, or a tile of a store, that is not as the stage wrote it."""

    file: str
    """Path relative to the run folder; of the store where a tile is damaged."""
    what: str
    tile: str = ""

    def __str__(self) -> str:
        return f"{self.file}{f', {self.tile}' if self.tile else ''}: {self.what}"

    @property
    def is_spare(self) -> bool:
        """Whether no stage needs the file: the state of a training that has finished."""
        parts = Path(self.file).parts
        is_of_training = len(parts) > 3 and parts[0] in TRAINED and parts[-2] == "training"
        return is_of_training and parts[-1] not in CHECKPOINT


@dataclass(frozen=True)
class SealedStore:
    """A cube whose shards have their digests in a ledger: number and bytes of each variable's."""

    ledger: str
    """Folder of the ledger, relative to the run folder."""
    fingerprint: str
    tiles: int
    shards: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Manifest:
    """What a stage wrote: files by path relative to the run folder, and cubes filled by tiles."""

    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Size and SHA-256 of each file; the digest of a log is empty."""
    stores: Mapping[str, SealedStore] = field(default_factory=dict)

    def save(self, path: Path) -> str:
        """Write the manifest, durably; returns the SHA-256 of its file."""
        stores = {
            name: {"ledger": store.ledger, "fingerprint": store.fingerprint, "tiles": store.tiles,
                   "shards": {variable: list(of) for variable, of in store.shards.items()}}
            for name, store in self.stores.items()
        }  # fmt: skip
        files = {name: f"{size} {digest}" for name, (size, digest) in self.files.items()}
        write_json(path, {"files": files, "stores": stores})
        return sha256(path)

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """The manifest in a file; `InputError` where it is none."""
        stored = read_json(path)
        try:
            files = {str(name): _sealed_file(of) for name, of in stored["files"].items()}
            stores = {str(name): _sealed_store(of) for name, of in stored["stores"].items()}
            for name in (*files, *stores, *(store.ledger for store in stores.values())):
                if not is_within(name):
                    raise ValueError(f"{name!r} is outside the run folder")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
            raise bad_input(str(path), found, "the manifest of a stage") from None
        return cls(files, stores)

    def lost(self, folder: Path) -> list[Path]:
        """The files that are missing, without those that no stage needs."""
        return [
            folder / name
            for name, (_, digest) in self.files.items()
            if digest and not Damage(name, "").is_spare and not os.path.lexists(folder / name)
        ]

    def owns(self, name: str) -> bool:
        """Whether the stage wrote the file: listed, a shard of its cubes, or of their ledgers."""
        if name in self.files:
            return True
        for store, sealed in self.stores.items():
            if name.startswith(f"{sealed.ledger}/"):
                return True
            if name.startswith(f"{store}/") and "/c/" in name.removeprefix(store):
                return Path(name).name.isdigit()
        return False

    def damage(self, folder: Path, deep: bool = False) -> list[Damage]:
        """What was lost or changed; of large files and shards only the size, unless `deep`."""
        found = self.damaged_files(folder, deep)
        for name, sealed in self.stores.items():
            found += _store_damage(folder, name, sealed, deep)
        return found

    def damaged_files(self, folder: Path, deep: bool = True) -> list[Damage]:
        """The listed files that were lost or changed, large ones by their size unless `deep`."""
        found: list[Damage] = []
        same: list[str] = []
        for name, (size, _) in self.files.items():
            present = _size(folder / name)
            if present is None and not (missing := Damage(name, "is missing")).is_spare:
                found.append(missing)
            elif present is not None and present != size:
                found.append(Damage(name, f"has {present} bytes, not the {size} written"))
            elif present is not None:
                same.append(name)
        found = [one for one in found if self.files[one.file][1]]
        read = [name for name in same if deep or self.files[name][0] <= SMALL]
        digests = _digests([folder / name for name in read])
        return found + [
            Damage(name, "has other bytes than were written")
            for name, digest in zip(read, digests, strict=True)
            if self.files[name][1] not in ("", digest)
        ]

    def without(self, names: Iterable[str]) -> Manifest:
        """The manifest without some files."""
        gone = {*names}
        files = {name: sealed for name, sealed in self.files.items() if name not in gone}
        return Manifest(files, self.stores)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def sha256(path: Path) -> str:
    """The SHA-256 of a file; empty where it cannot be read."""
    try:
        return digest_of(path)
    except OSError:
        return ""


def _digests(paths: Iterable[Path]) -> list[str]:
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(sha256, paths))


def _sealed_file(stored: str) -> tuple[int, str]:
    size, _, digest = stored.partition(" ")
    return int(size), digest


def _sealed_store(stored: Mapping[str, Any]) -> SealedStore:
    shards = {str(name): (int(n), int(size)) for name, (n, size) in stored["shards"].items()}
    return SealedStore(
        str(stored["ledger"]), str(stored["fingerprint"]), int(stored["tiles"]), shards
    )


def seal(folder: Path, found: Iterable[Found], stores: Mapping[Path, Ledger]) -> Manifest:
    """The manifest of the files `found` and of the `stores`, which were filled by their ledgers.

    Raises `InputError` where shards of finished tiles are missing; their tiles are forgotten.
    """
    sealed, ledgers = {}, tuple(f"{ledger.folder}{os.sep}" for ledger in stores.values())
    for path, ledger in stores.items():
        one = _sealed_by_ledger(folder, path, ledger)
        if one is not None:
            sealed[str(path.relative_to(folder))] = one
    filled = tuple(f"{folder / name / variable / 'c'}{os.sep}"
                   for name, store in sealed.items() for variable in store.shards)  # fmt: skip
    others = (*ledgers, *filled)
    written = (one.path for one in found if one.may_be_written)
    chosen = [path for path in written if not str(path).startswith(others)]
    names = [str(path.relative_to(folder)) for path in chosen]
    digests = iter(_digests(path for path in chosen if not _is_log(path)))
    files = {
        name: (path.stat().st_size, "" if _is_log(path) else next(digests))
        for name, path in zip(names, chosen, strict=True)
    }
    return Manifest(files, sealed)


def _is_log(path: Path) -> bool:
    return path.name == LOG or path.name.startswith(EVENTS)


def _sealed_by_ledger(folder: Path, path: Path, ledger: Ledger) -> SealedStore | None:
    """The seal of a store; None where its ledger has no digests of its shards."""
    recorded = ledger.summaries()
    variables = sorted({
        name for summary in recorded.values() for name, of in summary.items() if _shards(of)
    })  # fmt: skip
    if not variables:
        return None
    lost = _lost(path, ledger)
    if lost:
        for tile in lost:
            ledger.forget(tile)
        raise bad_input(
            str(path), f"finished tiles whose shards are missing: {listed(lost)}", "all shards",
            "Run the same command again: it computes these tiles.",
        )  # fmt: skip
    shards = {name: _count(path / name / "c") for name in variables}
    return SealedStore(
        str(ledger.folder.relative_to(folder)), ledger.fingerprint, len(recorded), shards
    )


def _shards(summary: Any) -> list[str]:
    """The digests of a variable's shards in the summary of a tile; none of other values."""
    digests = summary.get("shards") if isinstance(summary, Mapping) else None
    return [digest for digest in digests or [] if digest]


def _count(folder: Path) -> tuple[int, int]:
    """Number and bytes of the files below a folder."""
    if not folder.is_dir():
        return 0, 0
    sizes = [path.stat().st_size for path in below(folder)]
    return len(sizes), sum(sizes)


def _lost(path: Path, ledger: Ledger) -> list[str]:
    """Names of the finished tiles of which a shard is missing; all where the store is."""
    return lost_tiles(path, ledger) if path.is_dir() else sorted(ledger.names_done())


def _marked(ledger: Ledger) -> int:
    """Number of markers of finished tiles, which are not read."""
    if not ledger.path.is_dir():
        return 0
    with os.scandir(ledger.path) as entries:
        return sum(entry.name.endswith(".done.json") for entry in entries)


def _store_damage(folder: Path, name: str, sealed: SealedStore, deep: bool) -> Iterator[Damage]:
    path, ledger = folder / name, Ledger(folder / sealed.ledger, sealed.fingerprint)
    counts = {variable: _count(path / variable / "c") for variable in sealed.shards}
    differ = [v for v in counts if counts[v] != tuple(sealed.shards[v])]
    if (marked := _marked(ledger)) < sealed.tiles:
        yield Damage(sealed.ledger, f"lists {marked} of {sealed.tiles} tiles as finished")
    lost = _lost(path, ledger) if differ else []
    yield from (Damage(name, "a shard is missing", tile) for tile in lost)
    if not deep and (lost or not differ):
        return
    try:
        problems = verify_cube(path, None, ledger)
    except InputError:
        return  # its metadata are missing: the files are listed, and found one by one
    damaged: dict[str, Damage] = {}
    for problem in problems:
        if problem.kind in DAMAGED and problem.tile and problem.tile not in lost:
            damaged.setdefault(problem.tile, Damage(name, problem.detail, problem.tile))
    yield from damaged.values()


def mend(folder: Path, manifest: Manifest, damage: Iterable[Damage]) -> None:
    """Remove what is damaged, and what was made with it, so that the stage makes it again.

    The ledger forgets a damaged tile; a store of locations is removed as a whole. With a file of a
    finetuned model its held-out predictions are removed, without which the stage takes the model
    for finished.
    """
    again: set[str] = set()
    for one in damage:
        if one.tile:
            sealed = manifest.stores[one.file]
            Ledger(folder / sealed.ledger, sealed.fingerprint).forget(one.tile)
            continue
        again |= {one.file, *_made_with(one.file, manifest)}
    remove_files(folder, [folder / name for name in sorted(again & {*manifest.files})])


def _made_with(name: str, manifest: Manifest) -> Iterator[str]:
    parts = Path(name).parts
    roots = []
    if not any(name.startswith(f"{store}/") for store in manifest.stores):
        inside = next((i for i, part in enumerate(parts) if part.endswith(".zarr")), None)
        if inside is not None:
            roots.append("/".join(parts[: inside + 1]))
    if parts[0] == "finetuned" and len(parts) > 3:
        roots.append("/".join((*parts[:3], "heldout.zarr")))
    for root in roots:
        yield from (other for other in manifest.files if other.startswith(f"{root}/"))
