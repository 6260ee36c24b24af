"""Provenance of an artefact (settings, sources, versions, code) and reproducible fingerprints.

Nothing here depends on the clock, so that a resumed run writes the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
import re
import stat
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.core.archives.member_path import MemberPath
from pipeline.core.remote_path import RemotePath
from pipeline.core.system.globs import matching
from pipeline.core.written.references import as_written

PACKAGES = (
    *("stefaland", "numpy", "scipy", "xarray", "zarr", "numcodecs", "dask", "distributed"),
    *("torch", "numba", "rasterio", "pyproj", "odc-geo", "netCDF4", "pandas", "safetensors"),
)


def _canonical(value: Any) -> Any:
    """Return `value` as plain JSON that is equal only for equal settings; floats keep all bits."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_canonical(item) for item in value), key=json.dumps)
    if hasattr(value, "model_dump"):
        return _canonical(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _canonical(getattr(value, f.name)) for f in fields if f.init}
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        if getattr(value, "ndim", 0) == 0:
            return _canonical(value.item())
        content = hashlib.sha256(value.tobytes()).hexdigest()
        return {"dtype": str(value.dtype), "shape": list(value.shape), "sha256": content}
    if isinstance(value, Sequence):
        return [_canonical(item) for item in value]
    return str(value)


def fingerprint(obj: Any, separators: tuple[str, str] = (",", ":")) -> str:
    """Return a hash (16 hexadecimal digits) of settings, equal in all processes and machines.

    Accepts nested mappings, sequences, sets, dataclasses, pydantic models, arrays, paths and plain
    values; the order of a mapping's keys does not matter. `separators` are those of the JSON text
    that is hashed.
    """
    text = json.dumps(_canonical(obj), sort_keys=True, separators=separators)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that affect results, and of GDAL and PROJ."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    try:
        import pyproj
        import rasterio

        found |= {"GDAL": rasterio.__gdal_version__, "PROJ": pyproj.proj_version_str}
    except ImportError:
        pass
    return found


@cache
def code_version() -> str:
    """Return the commit of the Git checkout, with `+changes` if files differ; empty without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def provenance(config: Mapping[str, Any], sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the root attributes of an artefact: settings, catalog entries, versions and code.

    Settings and entries are as `as_written` returns them.
    """
    return {
        "config": as_written(_canonical(config)),
        "sources": as_written(_canonical(sources)),
        "versions": versions(),
        "code": code_version(),
    }


def file_stamp(source: Any) -> list[tuple[str, int, int]]:
    """Return (name, bytes, modification time in ns) of each file of a source, URI or path.

    `{...}` and `*` match any text; a folder stands for all files in it, and an archive for each of
    its files. Instead of a time, a remote
    file has a number that differs between its versions; a remote store has that of its metadata.
    The list is empty if files are missing: the check stage reports them.
    """
    if isinstance(source, MemberPath):
        return file_stamp(source.archive)
    if isinstance(source, RemotePath):
        try:
            return [(source.name, *source.stat(fresh=True))]
        except FileNotFoundError:
            return []
    text = str(getattr(source, "uri", source))
    if "!/" in text:  # the version of an archive is that of all its files
        return file_stamp(text.partition("!/")[0])
    uri = Path(re.sub(r"\{[^}]*\}", "*", text))
    anchor = Path(uri.anchor) if uri.is_absolute() else Path()
    if uri.exists():
        found = [uri]
    elif not {*"*?["} & {*str(uri)}:
        return []
    else:
        found = matching(anchor, str(uri.relative_to(anchor)), text)
    files = [f for path in found for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [
        (f.name, status.st_size, status.st_mtime_ns)
        for f in files
        if f.is_file()
        for status in [f.stat()]
    ]


def path_stamp(path: Any) -> list[tuple[str, int, int]]:
    """Return `file_stamp` of a path that is no pattern; empty at once if it does not exist."""
    if not isinstance(path, Path):
        return file_stamp(path)
    try:
        status = path.stat()
    except OSError:
        return []
    if stat.S_ISREG(status.st_mode):
        return [(path.name, status.st_size, status.st_mtime_ns)]
    return file_stamp(path)
