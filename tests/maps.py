"""A small prediction cube with a known field, and readers from outside this package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.cube.open import cube_tiles
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.grid.target_grid import TargetGrid

GRID = TargetGrid.from_bounds("test", "EPSG:4326", (-125, 24, -66.5, 50), 0.5)  # 52 x 117
ALBERS = TargetGrid.from_bounds("albers", "EPSG:5070", (-2400000, 250000, 2400000, 3250000), 50000)
TARGET = "soil_moisture"
MONTHS = np.array([f"2001-{month:02d}-16" for month in range(1, 13)], "datetime64[ns]")
NAMES = [f"{time:%B}" for time in MONTHS.astype("datetime64[s]").astype(object)]

needs_gdalinfo = pytest.mark.skipif(
    shutil.which("gdalinfo") is None, reason="needs the gdalinfo of gdal-bin"
)


def months() -> xr.DataArray:
    return xr.DataArray(MONTHS, dims="time", attrs={"climatology": True})


def truth(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Smooth monthly field of place, dims (time, ...), within 0..0.5."""
    place = 0.25 + 0.1 * np.sin(np.deg2rad(4 * lon)) * np.cos(np.deg2rad(5 * lat))
    season = 0.05 * np.cos(np.arange(12) / 6 * np.pi)
    return place[None] + season.reshape(12, *(1,) * place.ndim)


def on_land(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    return np.hypot(lon + 95, (lat - 38) * 1.6) < 24


def field(grid: TargetGrid = GRID) -> xr.Dataset:
    """Target, spread and flag on a grid: flag 1 in the west, 3 (without values) in the north."""
    lon, lat = grid.lonlat()
    land = on_land(lon, lat)
    masked = land & (lat > 48)
    values = np.where(land & ~masked, truth(lon, lat), np.nan).astype(np.float32)
    flag = np.where(land, np.where(lon < -105, 1, 0), 255).astype(np.uint8)
    flag[masked] = 3
    attrs = {"units": "m3 m-3", "long_name": "soil moisture", "standard_name": "moisture"}
    return xr.Dataset(
        {
            TARGET: (("time", "y", "x"), values, attrs),
            f"{TARGET}_spread": (("time", "y", "x"), values * np.float32(0.1), {"units": "m3 m-3"}),
            "quality_flag": (("y", "x"), flag, {"long_name": "quality flag"}),
        },
        coords={**grid.coords(), "time": months()},
    )


def write_prediction(path: Path, tile: int | tuple[int, int] = 32, skip: str = "") -> Path:
    """The field as a prediction cube; the tile named `skip` is never written."""
    ds = field()
    variables = {
        str(name): {"dims": da.dims, "dtype": str(da.dtype), "attrs": da.attrs}
        for name, da in ds.data_vars.items()
    }
    create_cube(path, cube_template(GRID, months(), variables, tile), {"config": {"seed": 1}})
    for each in cube_tiles(path):
        if each.name != skip:
            part = ds.isel(y=each.rows, x=each.cols).drop_vars("spatial_ref")
            write_tile(path, each, part)
    return path


def gdalinfo(*arguments: object) -> str:
    """What the gdalinfo on the PATH, mostly older than the GDAL of rasterio, says of a file."""
    command = ["gdalinfo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
