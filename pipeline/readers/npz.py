"""NumPy archives of arrays on latitudes and longitudes, as Datasets in memory (driver `npz`)."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.errors import LIBRARY_ERRORS, bad_input, nearest_name
from pipeline.core.system.promises import require_room, shown_bytes
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import NPZ, ZIP
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.driver import Driver, NoOptions


def open_npz(source: Source) -> xr.Dataset:
    """Return the entry's arrays, dims (time, y, x), float32; files of a series are one step each,
    and an array of a single file may have all steps.

    `lat` and `lon` of the entry name a file or an array each. Raises `InputError` for files and
    arrays that are missing or cannot be read.
    """
    lat, lon = (_axis(source, which) for which in ("lat", "lon"))
    arrays = {}
    for variable in source.variables.values():
        stacked = _values(tuple(source.files), variable.name, variable.probabilities, source.name)
        arrays[variable.name] = (("time", "y", "x"), stacked)
    return xr.Dataset(arrays, coords={"y": lat, "x": lon})


def _axis(source: Source, which: str) -> np.ndarray:
    """Return latitudes or longitudes from a file or an array, either 1-D or a 2-D field of them."""
    name = getattr(source, which)
    if name is None:
        raise bad_input(f'source "{source.name}": {which}', "nothing", "a file or an array name")
    if name.endswith(".npz"):
        values = _load(Path(name), "arr_0", source.name)
    else:
        values = _load(source.files[0], name, source.name)
    if values.ndim == 2:
        values = values[:, 0] if which == "lat" else values[0]
    return values.astype(np.float64)


@lru_cache(maxsize=64)
def _load(path: Path, name: str, source: str) -> np.ndarray:
    where, expected = f'source "{source}", {path}', "a NumPy archive"
    check_format(where, path, expected, NPZ)
    try:
        with np.load(member_copy(path), allow_pickle=False) as archive:
            if name not in archive:
                hint = nearest_name(name, archive.files)
                found = f"arrays {', '.join(archive.files)}"
                raise bad_input(where, found, f'an array "{name}"', hint)
            _check_promise(archive, name, f"{where}: {name}")
            return archive[name]
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, expected, NPZ, ZIP) from None


def _check_promise(archive: Any, name: str, where: str) -> None:
    """Raise `InputError` for an array longer than its bytes in the archive, or than memory."""
    members = {*archive.zip.namelist()}
    member = f"{name}.npy" if f"{name}.npy" in members else name
    with archive.zip.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        held = archive.zip.getinfo(member).file_size - file.tell()
    promised = math.prod(shape) * dtype.itemsize
    if promised > held:
        raise bad_input(
            where, f"{shown_bytes(held)} of an array of {shown_bytes(promised)}",
            "as many bytes as its header promises", "Download the file again.",
        )  # fmt: skip
    require_room(where, shape, dtype.itemsize, "an array")


@lru_cache(maxsize=4)
def _values(
    files: tuple[Path, ...], name: str, probabilities: str | None, source: str
) -> np.ndarray:
    """Return values [T, y, x], float32, decoded once per process.

    With `probabilities`, the last axis holds levels and the values are their expectations.
    """
    if probabilities is not None:
        levels = _load(files[0], name, source).astype(np.float64)
        weights = _load(files[0], probabilities, source).astype(np.float64)
        total = np.nansum(weights, -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(total > 0, np.nansum(levels * weights, -1) / total, np.nan)
        _load.cache_clear()
        return np.moveaxis(mean, 2, 0).astype(np.float32)
    steps = [_load(path, name, source).astype(np.float32) for path in files]
    _load.cache_clear()
    if len(steps) == 1 and steps[0].ndim == 3:
        return steps[0]
    for path, step in zip(files, steps, strict=True):
        if step.ndim != 2:
            raise bad_input(
                f'source "{source}", {path}: {name}', f"an array of {step.ndim} dimensions",
                "rows and columns, or (time, row, column) of a single file",
            )  # fmt: skip
    return np.stack(steps)


DRIVER = Driver(name="npz", open=open_npz, is_series=True, options=NoOptions, is_lazy=False)
