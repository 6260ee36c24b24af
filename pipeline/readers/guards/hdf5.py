"""check_hdf5(): HDF5 and NetCDF-4 files of which parts are stored in other files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from pipeline.core.files import version_of
from pipeline.readers.guards.outside import is_within, refused


def check_hdf5(file: Any, where: str, trust: bool) -> None:
    """Raise `InputError` for an HDF5 file, a path or opened, with parts in files outside.

    Files on disk may have parts in the folder of the file, those at remote addresses none. Files of
    other formats are accepted.
    """
    if not trust and (found := hdf5_reference(file)):
        raise refused(where, found)


def hdf5_reference(file: Any) -> str | None:
    """Return which other file a link or an array of an HDF5 file names; None for none outside."""
    if not isinstance(file, Path):
        return _reference(file, None)
    return _of_path(file, version_of(file)) if h5py.is_hdf5(file) else None


@lru_cache(maxsize=8192)
def _of_path(path: Path, stamp: tuple[int, ...]) -> str | None:
    return _reference(path, path.parent)


def _reference(file: Any, folder: Path | None) -> str | None:
    with h5py.File(file, "r") as opened:
        waiting, seen = [opened["/"]], set[Any]()
        while waiting:
            group = waiting.pop()
            identity = h5py.h5o.get_info(group.id).addr
            if identity in seen:
                continue
            seen.add(identity)
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    if not _inside(link.filename, folder):
                        return f'a link to {link.filename} ("{name}")'
                    continue
                if not isinstance(link, h5py.HardLink):
                    continue  # what a soft link leads to is reached by another name
                item = group[name]
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                elif isinstance(item, h5py.Dataset):
                    for other in _files(item):
                        if not _inside(other, folder):
                            return f'values of "{name}" in {other}'
    return None


def _files(array: Any) -> list[str]:
    """Return the names of the other files that hold values of an array."""
    names = [str(name) for name, *_ in array.external or ()]
    if array.is_virtual:
        names += [part.file_name for part in array.virtual_sources() if part.file_name != "."]
    return names


def _inside(name: str, folder: Path | None) -> bool:
    return folder is not None and is_within(name, folder)
