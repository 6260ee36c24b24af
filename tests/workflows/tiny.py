"""A config with a catalog and files of a few kilobytes: commands that look at them take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

CATALOG = """
rain:
  uri: ${data}/rain.nc
  driver: netcdf
  time: {kind: months}
  variables: {precipitation: {name: rain, units: mm/day}}
  licence: CC0-1.0
moisture:
  uri: ${data}/moisture.nc
  driver: netcdf
  time: {kind: months}
  variables: {soil_moisture: {name: moisture, units: m3 m-3}}
  method: nearest
height:
  uri: ${data}/height.nc
  driver: netcdf
  variables: {elevation: {name: height, units: m}}
"""
CONFIG = """
name: tiny
title: A run of a few cells
roots: {data: DATA, runs: RUNS}
catalogs: [CATALOG]
grids: [GRIDS]
cubes: {globe: {grid: coarse, tile: [6, 12]}}
inputs:
  sources: [rain, moisture, height]
  forcings: [precipitation]
  statics: [elevation]
  target: soil_moisture
folds: {kind: blocks, k: 2}
pretrain: {cube: globe, window: 12, cyclic: true, epochs: 1}
finetune: {cube: globe, window: 12, cyclic: true, epochs: 1, baselines: [ridge]}
predict: {cubes: [globe]}
publish: {}
cluster: {kind: none}
"""


def write_tiny(folder: Path) -> Path:
    """Write config, catalog, grids and files below `folder`; returns the config's path."""
    random = np.random.default_rng(3)
    coords = {"time": np.arange(12), "lat": 75.0 - 10 * np.arange(16),
              "lon": -175.0 + 10 * np.arange(36)}  # fmt: skip
    for name, top in (("rain", 8.0), ("moisture", 0.4), ("height", 3000.0)):
        dims = ("lat", "lon") if name == "height" else ("time", "lat", "lon")
        values = top * random.random([len(coords[dim]) for dim in dims], np.float32)
        units = {"rain": "mm/day", "moisture": "m3 m-3", "height": "m"}[name]
        da = xr.DataArray(values, {dim: coords[dim] for dim in dims}, dims, name, {"units": units})
        da.to_netcdf(folder / f"{name}.nc")
    (folder / "catalog.yml").write_text(CATALOG)
    (folder / "grids.yml").write_text(
        'coarse: {crs: "EPSG:4326", bounds: [-180, -60, 180, 60], resolution: 10}\n'
    )
    paths = {
        "DATA": folder, "RUNS": folder / "runs", "CATALOG": folder / "catalog.yml",
        "GRIDS": folder / "grids.yml",
    }  # fmt: skip
    text = CONFIG
    for word, path in paths.items():
        text = text.replace(word, str(path))
    (folder / "tiny.yml").write_text(text)
    return folder / "tiny.yml"
