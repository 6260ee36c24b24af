"""Files as a hydrologist has them, south of Munich, for the tutorial and its tests.

`era5_land/era5_land_2019_MM.nc` has hours of ERA5-Land (totals since 00 UTC), `dem.tif` heights,
`clay_0-5cm_mean.tif` clay in g/kg without units, as SoilGrids, `landcover.tif` codes with a table
of colours, `stations.csv` daily soil moisture of 40 stations.
`python -m tests.tutorial_data FOLDER` writes them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from scipy.ndimage import gaussian_filter, map_coordinates

WEST, SOUTH, EAST, NORTH = 10.45, 46.95, 12.05, 48.25
"""Outer edges of the cells of ERA5-Land, whose centres are multiples of 0.1 degrees."""
DAYS = pd.date_range("2019-04-01", "2019-07-31", freq="D")
STATIONS = 40
COLOURS = {
    10: (0, 100, 0), 30: (255, 255, 76), 40: (240, 150, 255), 50: (250, 0, 0), 80: (0, 100, 200),
}  # fmt: skip
"""Colour of each code of the land cover: trees, grass, crops, towns, water."""
FINE = 0.005
"""Cell size of heights and clay, degrees."""


@dataclass(frozen=True)
class Truth:
    """What the files say, by day and cell of ERA5-Land, rows north-up."""

    lon: np.ndarray
    lat: np.ndarray
    precipitation: np.ndarray
    """Rain [T, y, x], mm/day."""
    air_temperature: np.ndarray
    """Mean temperature [T, y, x], degC."""


def write_tutorial_data(folder: Path) -> Truth:
    """Write all files below `folder`; returns the daily values that the hours add up to."""
    random = np.random.default_rng(2019)
    lon = np.round(np.arange(WEST + 0.05, EAST, 0.1), 1)
    lat = np.round(np.arange(NORTH - 0.05, SOUTH, -0.1), 1)
    shape = (lat.size, lon.size)
    height, clay = _write_rasters(folder, random)
    rain = _hourly_rain(random, shape)
    heat = _hourly_heat(random, lat, lon, height)
    _write_hours(folder / "era5_land", lat, lon, rain, heat)
    days = len(DAYS)
    truth = Truth(lon, lat, 1000.0 * rain.reshape(days, 24, *shape).sum(1),
                  heat.reshape(days, 24, *shape).mean(1) - 273.15)  # fmt: skip
    _write_stations(folder / "stations.csv", random, truth, clay)
    return truth


def _hourly_rain(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return the rain of each hour [T, y, x], m: showers of some hours in moving fields."""
    hours = len(DAYS) * 24
    field = gaussian_filter(random.normal(size=(hours, *shape)), (4, 2, 2), mode="nearest")
    field /= field.std()
    return 1e-3 * np.maximum(field - 1.0, 0.0) * 1.2


def _hourly_heat(
    random: np.random.Generator, lat: np.ndarray, lon: np.ndarray, height: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Return the temperature at the beginning of each hour [T, y, x], K."""
    hours = np.arange(len(DAYS) * 24)
    season = 278.0 + 9.0 * hours / hours.size + 5.0 * np.sin(2 * np.pi * (hours % 24 - 9) / 24)
    weather = gaussian_filter(random.normal(size=hours.size), 40, mode="nearest")
    of_height = -0.0065 * (_at(height, *np.meshgrid(lat, lon, indexing="ij")) - 500.0)
    return (season + 4.0 * weather / weather.std())[:, None, None] + of_height


def _write_hours(
    folder: Path, lat: np.ndarray, lon: np.ndarray, rain: np.ndarray, heat: np.ndarray
) -> None:
    """Write a file for each month, and one hour of August: rain runs on from 00 UTC.

    The value of 01 is the rain of one hour, and that of 00 the rain of the whole day before.
    """
    times = pd.date_range(DAYS[0], DAYS[-1] + pd.Timedelta(1, "D"), freq="h")
    of_day = rain.reshape(len(DAYS), 24, *rain.shape[1:]).cumsum(1).reshape(rain.shape)
    total = np.concatenate([np.full((1, *rain.shape[1:]), 2e-3), of_day])
    air = np.concatenate([heat, heat[-1:]])
    dims = ("valid_time", "latitude", "longitude")
    rain_attrs = {"units": "m", "long_name": "Total precipitation", "standard_name": "unknown",
                  "GRIB_stepType": "accum", "GRIB_dataType": "fc"}  # fmt: skip
    heat_attrs = {"units": "K", "long_name": "2 metre temperature", "standard_name": "unknown",
                  "GRIB_stepType": "instant", "GRIB_dataType": "fc"}  # fmt: skip
    hours = xr.Dataset(
        {"tp": (dims, total.astype("f4"), rain_attrs), "t2m": (dims, air.astype("f4"), heat_attrs)},
        {"valid_time": ("valid_time", times, {"standard_name": "time", "long_name": "time"}),
         "latitude": ("latitude", lat, {"units": "degrees_north", "standard_name": "latitude"}),
         "longitude": ("longitude", lon, {"units": "degrees_east", "standard_name": "longitude"}),
         "number": ((), 0), "expver": ("valid_time", ["0001"] * len(times))},
        {"Conventions": "CF-1.7", "institution": "European Centre for Medium-Range Weather"},
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    encoding = {"valid_time": {"units": "seconds since 1970-01-01", "dtype": "i8"}}
    for month, part in hours.groupby("valid_time.month"):
        part.to_netcdf(folder / f"era5_land_2019_{month:02d}.nc", encoding=encoding)


def _write_rasters(folder: Path, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Write heights, clay and land cover; returns heights in m and clay as a fraction [y, x]."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = round((NORTH - SOUTH) / FINE), round((EAST - WEST) / FINE)
    noise = [gaussian_filter(random.normal(size=shape), size) for size in (8, 15)]
    rough, soft = (one / one.std() for one in noise)
    north = np.linspace(1.0, 0.0, shape[0])[:, None]
    height = np.clip(2300 - 1800 * north**0.7 + 250 * rough * (1.2 - north), 350, 3600)
    clay = np.clip(0.12 + 0.2 * north + 0.06 * soft, 0.02, 0.6)
    place = {"crs": "EPSG:4326", "transform": from_origin(WEST, NORTH, FINE, FINE)}
    _write_tiff(folder / "dem.tif", np.rint(height).astype("i2"), -32768, place)
    grams = np.rint(1000 * clay).astype("i2")
    grams[:20, -20:] = -32768  # a lake
    _write_tiff(folder / "clay_0-5cm_mean.tif", grams, -32768, place)
    bounds = transform_bounds("EPSG:4326", "EPSG:3035", WEST, SOUTH, EAST, NORTH)
    west, south, east, top = bounds
    west, south, side = west // 500 * 500, south // 500 * 500, 500.0
    rows, cols = int((top - south) // side) + 1, int((east - west) // side) + 1
    wild = gaussian_filter(random.normal(size=(rows, cols)), 4)
    cover = np.select(
        [wild < np.quantile(wild, q) for q in (0.35, 0.65, 0.9, 0.96)], [10, 30, 40, 50], 80
    )
    place = {"crs": "EPSG:3035", "transform": from_origin(west, south + rows * side, side, side)}
    _write_tiff(folder / "landcover.tif", cover.astype("u1"), 0, place, COLOURS)
    return height, clay


def _write_tiff(
    path: Path, values: np.ndarray, nodata: int, place: dict[str, object],
    colours: dict[int, tuple[int, int, int]] | None = None,
) -> None:  # fmt: skip
    rows, cols = values.shape
    profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": values.dtype,
               "nodata": nodata, "compress": "deflate", **place}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
        if colours:
            file.write_colormap(1, colours)


def _at(field: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Return the values of a fine field at points, between its cells linearly."""
    at = (NORTH - lat) / FINE - 0.5, (lon - WEST) / FINE - 0.5
    return np.asarray(map_coordinates(field, at, order=1, mode="nearest"))


def _write_stations(
    path: Path, random: np.random.Generator, truth: Truth, clay: np.ndarray
) -> None:  # fmt: skip
    """Write daily soil moisture of a bucket: rain wets it, warmth dries it, clay holds more."""
    lat = random.uniform(SOUTH + 0.2, NORTH - 0.2, STATIONS)
    lon = random.uniform(WEST + 0.2, EAST - 0.2, STATIONS)
    row, col = (np.rint(v * 10).astype(int) for v in (truth.lat[0] - lat, lon - truth.lon[0]))
    rain, heat = truth.precipitation[:, row, col], truth.air_temperature[:, row, col]
    held = _at(clay, lat, lon)
    size, wet, rows = 0.15 + 0.6 * held, 0.5 * (0.15 + 0.6 * held), []
    for day, date in enumerate(DAYS):
        wet = wet + rain[day] / 150.0 - 0.004 * np.maximum(heat[day], 1.0) * wet
        wet = np.clip(wet, 0.03, size)
        seen = np.round(wet + random.normal(0.0, 0.003, STATIONS), 4)
        rows += [
            (f"S{i + 1:02d}", round(lat[i], 4), round(lon[i], 4), f"{date:%Y-%m-%d}", seen[i])
            for i in np.flatnonzero(random.random(STATIONS) > 0.03)
        ]
    names = ["station_id", "lat", "lon", "date", "soil_moisture"]
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)


if __name__ == "__main__":
    write_tutorial_data(Path(sys.argv[1]))
