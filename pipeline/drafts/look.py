"""Files to draft entries from: their drivers, and which of them are one source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pipeline.core.addresses import is_remote
from pipeline.core.errors import Faults, bad_input
from pipeline.entries.file_series import SUFFIXES, has_glob
from pipeline.readers.common.first_bytes import (
    GEOREFERENCED,
    GRIB,
    NETCDF,
    PARQUET,
    STORE,
    TABLE,
    TEXT,
    VECTORS,
    ZIP,
    format_of,
)

KNOWN = "a NetCDF, GRIB, GeoTIFF, Zarr, CSV, Parquet or vector file"


@dataclass(frozen=True)
class Group:
    """Files of one source: of one driver, with the same contents."""

    driver: str
    paths: tuple[Path, ...]

    @property
    def uri(self) -> str | tuple[str, ...]:
        """The address: a path, a glob that stands for these files alone, or a list of paths."""
        if len(self.paths) == 1:
            return str(self.paths[0])
        glob = _common(self.paths)
        folder = self.paths[0].parent
        if all(p.parent == folder for p in self.paths):
            there = {p for p in folder.iterdir() if fnmatch(p.name, glob)}
            if there == {*self.paths}:
                return str(folder / glob)
        return tuple(map(str, self.paths))

    @property
    def stem(self) -> str:
        """Name of an entry: that of the file, or what the names of the files have in common."""
        stems = [p.name.split(".")[0] if p.is_dir() else p.stem for p in self.paths]
        common = stems[0] if len(stems) == 1 else _common(self.paths).split("*")[0]
        plain = re.sub(r"\W+", "_", common if len(stems) == 1 else re.sub(r"[\W_\d]+$", "", common))
        name = plain.strip("_").lower() or re.sub(r"\W+", "_", self.paths[0].parent.name).lower()
        return name if name and not name[0].isdigit() else f"source_{name}".rstrip("_")


def _common(paths: Sequence[Path]) -> str:
    """Return the glob with what the names begin and end with."""
    names = [p.name for p in paths]
    begin = _shared(names)
    end = _shared([name[len(begin) :][::-1] for name in names])[::-1]
    # A year or month is not cut in two: `2019_0*` is `2019_*`, and `201*` is `*`.
    begin = re.sub(r"\d+$", "", begin)
    end = re.sub(r"^\d+", "", end)
    return f"{begin}*{end}"


def _shared(names: Sequence[str]) -> str:
    shortest = min(names, key=len)
    return next((shortest[:i] for i in range(len(shortest), 0, -1)
                 if all(name.startswith(shortest[:i]) for name in names)), "")  # fmt: skip


def driver_of_file(path: Path) -> str | None:
    """Return the driver that reads a file or store, by its first bytes; None for other files."""
    form = format_of(path)
    suffix = "".join(path.suffixes[-1:]).lower()
    if form in NETCDF:
        return "netcdf"
    if form == GRIB:
        return "grib"
    if form == STORE:
        return "zarr"
    if form == PARQUET or (form in (TABLE, TEXT) and suffix in SUFFIXES["table"]):
        return "table"
    if form in GEOREFERENCED and form != ZIP and suffix in SUFFIXES["raster"]:
        return "raster"
    return "vector" if form in VECTORS and form != ZIP else None


def found_files(addresses: Iterable[str | Path]) -> list[tuple[str, Path]]:
    """Return driver and path of all files that paths, folders and globs stand for, in order.

    Files in folders that no driver reads are left out. Raises `InputError` for addresses without a
    file, and for files that were named and that no driver reads.
    """
    faults, found = Faults(), dict[Path, str]()
    for address in map(str, addresses):
        path = Path(address).expanduser()
        if has_glob(address) and not path.exists():
            paths = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        elif path.is_dir() and driver_of_file(path) is None:
            paths = _below(path)
        else:
            paths = [path] if path.exists() else []
        drivers = {p: driver for p in paths if (driver := driver_of_file(p))}
        if not paths:
            hint = "Write the entry of a remote address by hand." if is_remote(address) else ""
            faults.add(address, "no such file or folder", "files of data", hint)
        elif not drivers:
            names = ", ".join(p.name for p in paths[:3])
            faults.add(
                address,
                f"no file that a driver reads, such as {names}",
                KNOWN,
                "Write the entry by hand (docs/data/README.md), or convert the files.",
            )
        found |= drivers
    faults.raise_if_any()
    return [(driver, path) for path, driver in found.items()]


def _below(folder: Path) -> list[Path]:
    """Return the visible files and Zarr stores below a folder, in order."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and format_of(path) != STORE:
            found += _below(path)
        else:
            found.append(path)
    return found


def name_key(path: Path) -> str:
    """Return the name of a file without its numbers, which tell dates and tiles apart."""
    return re.sub(r"\d+", "#", path.stem)


def require_one(groups: Sequence[Group], name: str) -> None:
    """Raise `InputError` where one name is given for several sources."""
    if len(groups) > 1:
        names = ", ".join(group.stem for group in groups)
        raise bad_input("--name", f'"{name}" for {len(groups)} sources ({names})', "one source",
                        "Leave it out, or name the files of one source alone.")  # fmt: skip
