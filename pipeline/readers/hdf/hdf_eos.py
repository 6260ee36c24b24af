"""Grids of HDF-EOS5 files, as those of Aura.

The corners of a grid are in the text StructMetadata.0 of the file (HDF-EOS5 Data Model, File Format
and Library, NASA ESDS-RFC-008).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

INFORMATION = "HDFEOS INFORMATION"
MOST_DEGREES = 360.0


def eos_axes(
    ds: xr.Dataset, names: Sequence[str], folder: str, open_group: Callable[[str], xr.Dataset]
) -> dict[str, xr.DataArray]:
    """Return the axes XDim and YDim of the dimensions of an HDF-EOS5 grid; none for other files.

    Values are the centres of the cells: degrees of a geographic grid, otherwise metres.
    """
    match = re.match(r"HDFEOS/GRIDS/([^/]+)", folder)
    if match is None:
        return {}
    text = "".join(
        str(variable.values) for name, variable in sorted(open_group(INFORMATION).variables.items())
        if str(name).startswith("StructMetadata")
    )  # fmt: skip
    grids = re.findall(r"GROUP=(GRID_\d+)\s(.*?)END_GROUP=\1", text, re.DOTALL)
    grid = next((body for _, body in grids if _text(body, "GridName") == match[1]), None)
    if grid is None:
        return {}
    try:
        corners = np.array([_pair(grid, key) for key in ("UpperLeftPointMtrs", "LowerRightMtrs")])
    except ValueError:  # DEFAULT, the corners of the projection
        return {}
    # Some writers have degrees as such; packed ones of a whole degree are a million.
    is_packed = np.abs(corners).max() > MOST_DEGREES
    if "GEO" in _text(grid, "Projection").upper() and is_packed:
        corners = _degrees(corners)
    (west, top), (east, bottom) = corners
    origin = _text(grid, "GridOrigin")
    if origin.endswith(("_LL", "_LR")):
        bottom, top = max(bottom, top), min(bottom, top)
    if origin.endswith(("_UR", "_LR")):
        east, west = west, east
    axes = {}
    for name in names:
        dims = list(map(str, ds[name].dims))
        order = re.search(
            rf'DataFieldName="{re.escape(name)}".*?DimList=\(([^)]*)\)', grid, re.DOTALL
        )
        texts = [t.strip(' "') for t in order[1].split(",")] if order else ["YDim", "XDim"]
        for dim, text in zip(dims[-len(texts) :], texts, strict=False):
            ends = {"XDim": (west, east), "YDim": (top, bottom)}.get(text)
            if ends is not None:
                axes[dim] = xr.DataArray(_centres(*ends, ds.sizes[dim]), dims=text, name=text)
    return axes


def _text(body: str, key: str) -> str:
    match = re.search(rf'\b{key}="?([^"\n]+)', body)
    return match[1].strip() if match else ""


def _pair(body: str, key: str) -> tuple[float, float]:
    first, _, second = _text(body, key).strip("()").partition(",")
    return float(first), float(second)


def _degrees(packed: np.ndarray) -> np.ndarray:
    """Return degrees from the packed form DDDMMMSSS.SS: degrees · 10⁶ + minutes · 10³ + seconds."""
    size = np.abs(packed)
    degrees, rest = np.divmod(size, 1e6)
    minutes, seconds = np.divmod(rest, 1e3)
    return np.asarray(np.sign(packed) * (degrees + minutes / 60 + seconds / 3600))


def _centres(first: float, last: float, count: int) -> np.ndarray:
    """Return the centres of `count` cells between two edges."""
    return first + (np.arange(count) + 0.5) * (last - first) / count
