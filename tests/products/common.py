"""The cube of packaged sources on a small target grid, from files in their provider's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.build import build_cube
from pipeline.catalog.catalog import read_catalog
from pipeline.core.errors import Faults
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source
from pipeline.times.axis import TimeAxis

Bounds = tuple[float, float, float, float]


def cube(
    product: str,
    data: Path,
    bounds: Bounds,
    cell: float,
    period: tuple[str, str] | None = None,
    *,
    sources: Sequence[str] = (),
    crs: str = "EPSG:4326",
    only: tuple[str, str] | None = None,
) -> xr.Dataset:
    """The cube of some sources of a product, by default that of its name, with files below `data`.

    `bounds` and `cell` are those of the target grid in its `crs`, `period` its first and last day;
    `only` shortens the period of the entries, where years have too many files to look for.
    """
    entries = within(read_catalog(product, data=data).select(*(sources or (product,))), only)
    grid = TargetGrid.from_bounds("fixture", crs, bounds, cell)
    return build_cube(data / "cubes" / f"{'_'.join(sources) or product}.zarr", grid, entries,
                      time=period)  # fmt: skip


def within(entries: Sequence[Source], only: tuple[str, str] | None) -> list[Source]:
    """The entries with another period, if any."""
    time = [entry.time.model_dump(exclude_defaults=True) | {"period": only} for entry in entries]
    return [
        entry.model_copy(update={"time": TimeAxis.model_validate(axis)}) if only else entry
        for entry, axis in zip(entries, time, strict=True)
    ]


def dates(ds: xr.Dataset) -> list[str]:
    """The times of a cube, as dates."""
    return [str(time)[:10] for time in ds["time"].values]


def same(found: xr.DataArray, wanted: object, rtol: float = 1e-5) -> None:
    """Assert that values are as wanted, NaN where they are missing."""
    np.testing.assert_allclose(found.values, wanted, rtol=rtol, atol=1e-4)


def faults(
    product: str, data: Path, *sources: str, only: tuple[str, str] | None = None
) -> list[str]:
    """The faults that a check of sources of a product finds, as texts."""
    found = Faults()
    for source in within(read_catalog(product, data=data).select(*(sources or (product,))), only):
        check_source(source, found)
    return [f"{fault.where}: {fault.found}" for fault in found.faults]
