"""Checks of a store's metadata and coordinates against each other.

`open` refuses a store with damaged files, `integrity` reports them, and `write` writes those again
that a repair removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import InputError
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.cube.shards import checksum
from pipeline.cube.template import grid_of

ROOT = "zarr.json"
LOCATIONS_AGAIN = (
    "In a run, `stefaland run CONFIG --verify` makes the store again; --restart of its stage makes "
    "all that the stage writes."
)
"""Hint for a damaged store of locations."""


@dataclass(frozen=True)
class Damage:
    """A file of a store that is missing or damaged."""

    kind: str
    """Kind of damage, one of those of `integrity.Problem`: `hole`, `corrupt` or `changed`."""
    variable: str
    """Name of the variable; empty for the store itself."""
    file: str
    """Path relative to the store."""
    detail: str


def root_metadata(path: Path) -> dict[str, Any] | Damage:
    """The root's metadata with those of all arrays, or the damage of the file."""
    root = _read_json(path, "", ROOT)
    if isinstance(root, Damage):
        return root
    try:
        arrays = root["consolidated_metadata"]["metadata"]
        is_whole = isinstance(root["attributes"], dict) and isinstance(arrays, dict)
    except (KeyError, TypeError):
        is_whole = False
    return root if is_whole else Damage("corrupt", "", ROOT, "no metadata of the store's arrays")


def arrays_of(root: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of each array by name, from the root's copy."""
    arrays: dict[str, Any] = root["consolidated_metadata"]["metadata"]
    return arrays


def is_sharded(meta: Mapping[str, Any]) -> bool:
    """Whether an array is a variable of a cube; coordinates are not sharded."""
    return meta["codecs"][0]["name"] == "sharding_indexed"


def metadata_damage(path: str | Path) -> list[Damage]:
    """Every file of metadata or of a cube's coordinates that is missing or damaged.

    Each array's metadata must equal the root's copy; coordinates must match their checksums, x and
    y must be those of the cube's grid, bit for bit, and times must ascend.
    """
    path = Path(path)
    root = root_metadata(path)
    if isinstance(root, Damage):
        return [root]
    found = []
    for name, wanted in arrays_of(root).items():
        file = f"{name}/{ROOT}"
        meta = _read_json(path, name, file)
        if isinstance(meta, Damage):
            found.append(meta)
        elif _canonical(meta) != _canonical(wanted):
            found.append(Damage("changed", name, file, "metadata that differ from the store's own"))
    if "cube" in root["attributes"]:
        return found + _coordinate_damage(path, root)
    return found + _lost_locations(path, arrays_of(root))


def _lost_locations(path: Path, arrays: Mapping[str, Any]) -> list[Damage]:
    """Coordinates of a store of locations without any chunk, where one must have been written."""
    return [
        Damage("hole", name, f"{name}/c", "no values")
        for name in ("time", "cell", "lat", "lon")
        if name in arrays
        and np.prod(arrays[name]["shape"]) > 1
        and not any(file.is_file() for file in (path / name / "c").rglob("*"))
    ]


def _canonical(meta: Mapping[str, Any]) -> str:
    """The metadata as text, in which NaN equals NaN."""
    return json.dumps(meta, sort_keys=True)


def _read_json(path: Path, name: str, file: str) -> dict[str, Any] | Damage:
    content = _read_bytes(path, name, file)
    if isinstance(content, Damage):
        return content
    try:
        meta = parse_json(content)
    except ValueError as error:
        return Damage("corrupt", name, file, f"no JSON ({error}; truncated or changed)")
    if not isinstance(meta, dict):
        return Damage("corrupt", name, file, "no metadata (truncated or changed)")
    return meta


def _read_bytes(path: Path, name: str, file: str) -> bytes | Damage:
    try:
        return (path / file).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Damage("hole", name, file, "no such file")
    except OSError as error:
        return Damage("corrupt", name, file, f"cannot be read ({error.strerror})")


def _coordinate_damage(path: Path, root: Mapping[str, Any]) -> list[Damage]:
    try:
        grid = grid_of(root["attributes"])
    except (KeyError, TypeError, ValueError, InputError) as error:
        return [Damage("corrupt", "", ROOT, f"no grid ({error}; changed)")]
    expected = {"y": grid.y, "x": grid.x, "spatial_ref": np.array(0)}
    arrays = arrays_of(root)
    if absent := [name for name in expected if name not in arrays]:
        return [Damage("changed", "", ROOT, f"no {', '.join(absent)}")]
    found = []
    for name, meta in arrays.items():
        if is_sharded(meta):
            continue
        values = _coordinate(path, name, meta)
        if isinstance(values, Damage):
            found.append(values)
        elif name in expected and not np.array_equal(values, expected[name]):
            found.append(
                Damage(
                    "changed", name, _chunk(name, meta), "values that are not of the store's grid"
                )
            )
        elif name == "time" and not (np.diff(values) > 0).all():
            found.append(Damage("changed", name, _chunk(name, meta), "times that do not ascend"))
    return found


def _chunk(name: str, meta: Mapping[str, Any]) -> str:
    return "/".join([name, "c", *("0" for _ in meta["shape"])])


def _coordinate(path: Path, name: str, meta: Mapping[str, Any]) -> np.ndarray | Damage:
    """Values of an array of one chunk; read here, because Zarr reads a missing chunk as zeros."""
    file = _chunk(name, meta)
    content = _read_bytes(path, name, file)
    if isinstance(content, Damage):
        return content
    if any(codec["name"] == "crc32c" for codec in meta["codecs"]):
        content, stored = content[:-4], content[-4:]
        if checksum(content) != stored:
            return Damage("corrupt", name, file, "a wrong checksum (truncated or changed)")
    dtype = np.dtype(meta["data_type"]).newbyteorder("<")
    if len(content) != dtype.itemsize * int(np.prod(meta["shape"])):
        return Damage("corrupt", name, file, f"{len(content)} bytes (truncated or changed)")
    return np.frombuffer(content, dtype).reshape(meta["shape"])
