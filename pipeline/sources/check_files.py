"""check_files(): whether all files of a source exist and are complete, before any is opened."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pipeline.core.addresses import ask_heads, public_uri
from pipeline.core.errors import Fault, Faults, InputError, listed
from pipeline.core.files import version_of
from pipeline.core.system.paths import unfit_path, unreadable_path
from pipeline.entries.file_series import has_glob, named_part, padded
from pipeline.entries.source import Source
from pipeline.readers.common.refusals import missing_hint
from pipeline.readers.common.truncated import missing_bytes
from pipeline.readers.registry import files_of

MAX_LISTED = 12
"""Number of missing files, a year of months, up to which each is a fault of its own."""


def check_files(source: Source, faults: Faults) -> bool:
    """Whether all files exist and are complete; adds a fault for each that is not."""
    before = len(faults.faults)
    for uri, part in [(uri, part) for uri in source.uris if (part := named_part(uri))]:
        faults.add(
            f'source "{source.name}", {uri}', "GDAL's name of a part of a file",
            "the address of the file",
            f"Write `uri: {part[0]}`, `name: {part[1]}` in `variables` and the driver of the file "
            "(netcdf for HDF5).",
        )  # fmt: skip
    if len(faults.faults) > before:
        return False
    try:
        _check_each(source, faults)
    except InputError as error:  # of a remote address, which names no source
        for fault in error.faults:
            where = f'source "{source.name}", {fault.where}'
            faults.add(where, fault.found, fault.expected, fault.hint)
    except OSError as error:  # of a folder that is listed, or a file that may not be opened
        where = f'source "{source.name}", {error.filename or source.address}'
        found, hint = unreadable_path(error)
        faults.add(where, found, "the data of the catalog entry", hint)
    return len(faults.faults) == before


def _check_each(source: Source, faults: Faults) -> None:
    files = files_of(source)
    ask_heads(files)
    faults.faults += _faults_in(source, tuple(files), tuple(map(_version, files)))


def _version(path: Path) -> tuple[int, ...] | None:
    try:
        return version_of(path)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _faults_in(
    source: Source, files: Sequence[Path], versions: tuple[tuple[int, ...] | None, ...]
) -> tuple[Fault, ...]:
    """Return the faults of the files; they are looked at once, as there may be thousands."""
    faults = Faults()
    unfit = {path: why for path in files if isinstance(path, Path) and (why := unfit_path(path))}
    for path, (found, hint) in unfit.items():
        expected = "the data of the catalog entry"
        faults.add(f'source "{source.name}", {path}', found, expected, hint)
    files = [path for path in files if path not in unfit]
    there = {path: None for path in files if path.exists()}
    if not (source.may_lack_files and there):
        _add_missing(source, [path for path in files if path not in there], len(files), faults)
    for path in there:
        where = f'source "{source.name}", {path}'
        if path.is_file() and path.stat().st_size == 0:
            faults.add(where, "an empty file", "the data of the catalog entry", missing_hint(path))
        elif path.is_file() and (cut := missing_bytes(path)) is not None:
            faults.add(
                where, "the first {:,} bytes of a truncated file".format(*cut),
                "the {1:,} bytes or more that its header declares".format(*cut),
                "Download it again.",
            )  # fmt: skip
    return tuple(faults.faults)


def _add_missing(source: Source, missing: Sequence[Path], count: int, faults: Faults) -> None:
    """Add a fault for each missing file of `count` files, or one for many of a series."""
    if len(missing) > MAX_LISTED:
        hint = "Download them, limit `time: {years, period}` to these, or set `gaps: missing`."
        faults.add(
            f'source "{source.name}", {source.address}',
            f"no such files: {listed(path.name for path in missing)}",
            f"{count} files, one per step",
            _padding_hint(source) or (hint if source.time.years else missing_hint(missing[0])),
        )  # fmt: skip
        return
    for path in missing:
        found = "no file whose name matches" if has_glob(path.name) else "no such file"
        where = f'source "{source.name}", {path}'
        hint = _padding_hint(source) or missing_hint(path)
        faults.add(where, found, "the data of the catalog entry", hint)


def _padding_hint(source: Source) -> str:
    """Return the hint where files have names with zeros that the keys of the uri lack."""
    uris = tuple(map(padded, source.uris))
    if uris == source.uris:
        return ""
    there = any(path.exists() for path in source.model_copy(update={"uri": uris}).files)
    return (
        f"Write the zeros of its name: `uri: {', '.join(map(public_uri, uris))}`." if there else ""
    )
