"""Conservative and bilinear results beside those of CDO (Debian's `cdo`), where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.regrid import regrid
from tests.gridded import globe, grid, with_gaps

pytestmark = pytest.mark.skipif(
    shutil.which("cdo") is None, reason="needs CDO (Debian's package cdo)"
)

GRIDS = {
    "coarser": grid(-180, -90, 180, 90, 5.0),
    "coarser by a fraction": grid(-180, -90, 180, 90, 4.5),
    "finer": grid(-180, -90, 180, 90, 0.9),
    "a region": grid(-125, 24, -66.5, 50.1, 0.9),
}


def field(share: float = 0) -> xr.Dataset:
    """A global float32 field of 2.5 degrees, of which a random share is missing."""
    ds = globe(2.5, lambda x, y: 280 + 20 * np.cos(np.deg2rad(y)) + np.sin(np.deg2rad(7 * x) + y))
    return with_gaps(ds, share).astype(np.float32)


def by_cdo(ds: xr.Dataset, operator: str, target: TargetGrid, folder: Path) -> np.ndarray:
    """The variable on the target grid as CDO computes it, dims (y, x), north up."""
    lines = {"gridtype": "lonlat", "xsize": target.x.size, "ysize": target.y.size,
             "xfirst": target.x[0], "xinc": target.x[1] - target.x[0],
             "yfirst": target.y[0], "yinc": target.y[1] - target.y[0]}  # fmt: skip
    text = "\n".join(f"{key} = {value}" for key, value in lines.items())
    (folder / "grid").write_text(text + "\n")
    source = ds.rename(y="lat", x="lon")
    source["lat"].attrs, source["lon"].attrs = (
        {"units": f"degrees_{direction}"} for direction in ("north", "east")
    )
    source.to_netcdf(folder / "in.nc", encoding={"v": {"_FillValue": np.float32(-9e33)}})
    command = ["cdo", "-s", "-f", "nc4", f"{operator},{folder / 'grid'}"]
    subprocess.run([*command, folder / "in.nc", folder / "out.nc"], check=True, timeout=60)
    with xr.open_dataset(folder / "out.nc") as found:
        np.testing.assert_allclose(found["lat"], target.y, atol=1e-9)
        return found["v"].values


@pytest.mark.parametrize("name", GRIDS)
def test_conservative_means_are_those_of_cdo(name: str, tmp_path: Path) -> None:
    ours = regrid(field(0.3), GRIDS[name], "conservative", 1e-6)["v"].values
    theirs = by_cdo(field(0.3), "remapcon", GRIDS[name], tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", GRIDS)
def test_bilinear_values_are_those_of_cdo(name: str, tmp_path: Path) -> None:
    ds, target = field(), GRIDS[name]
    ours = regrid(ds, target, "bilinear", 1e-6)["v"].values
    theirs = by_cdo(ds, "remapbil", target, tmp_path)
    # Between the last row and the pole CDO weights four cells by distance; ours repeats the row.
    inner = np.abs(target.y) <= np.abs(ds["y"].values).max()
    assert inner.sum() >= target.y.size - 2
    np.testing.assert_allclose(ours[inner], theirs[inner], rtol=4 * np.finfo(np.float32).eps)
