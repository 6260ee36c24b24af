"""The scored sites as points with each model's scores: a GeoPackage, on top of the QGIS project.

Upstream: the held-out table of score.py and the published maps. Downstream: QGIS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.layers import LayerGroup, SiteLayer
from pipeline.legend import read_legend
from pipeline.qgis import verify_project
from pipeline.sites import sites_frame, write_sites
from stefaland.errors import InputError
from stefaland.metrics import accumulate, finish
from workflows.context import Run, catalog_path
from workflows.map_layers import layers
from workflows.publish import write_run_project

TABLE = "sites"
SCORES = ("NSE", "KGE", "RMSE", "bias")


def sites_path(run: Run) -> Path:
    """The GeoPackage beside the maps."""
    return run.maps / f"{run.config.inputs.target}_sites.gpkg"


def mean_place(lon: np.ndarray, lat: np.ndarray) -> tuple[float, float]:
    """Mean of places in degrees, on the sphere: right across the antimeridian too."""
    east, north = np.deg2rad(lon), np.deg2rad(lat)
    x, y = np.mean(np.cos(north) * np.cos(east)), np.mean(np.cos(north) * np.sin(east))
    z = np.mean(np.sin(north))
    return float(np.rad2deg(np.arctan2(y, x))), float(np.rad2deg(np.arctan2(z, np.hypot(x, y))))


def places_of(table: xr.Dataset, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of each site, from the cells with that `site` in a labelled table."""
    owner = table["site"].values
    found = [
        mean_place(table["lon"].values[owner == site], table["lat"].values[owner == site])
        for site in sites
    ]
    lon, lat = (np.array(values) for values in zip(*found, strict=True))
    return lon, lat


def write_scored_sites(run: Run, heldout: xr.Dataset, table: xr.Dataset) -> Path:
    """Write the sites and put them on the run's QGIS project; `InputError` for a broken project.

    `heldout` is that of score.py, `table` has the cells' `site`, `lon` and `lat`. StefaLand's
    scores are in the columns NSE, KGE, RMSE and bias, another model's NSE in `<model>_NSE`.
    """
    sites = heldout["site"].values
    columns: dict[str, np.ndarray] = {
        "site": sites.astype(np.int64),
        "fold": heldout["fold"].values.astype(str),
        "region": heldout["region"].values.astype(str),
        "observed_mean": heldout["observed"].mean("time").values,
    }
    for model in map(str, heldout["model"].values):
        predicted = heldout["predicted"].sel(model=model).values
        scores = finish(accumulate(heldout["observed"].values, predicted))
        if model == "stefaland":
            columns |= {name: scores[name] for name in SCORES}
        else:
            columns[f"{model}_NSE"] = scores["NSE"]
    path = write_sites(sites_path(run), {TABLE: sites_frame(*places_of(table, sites), columns)})
    legend = read_legend(catalog_path("legends/score.yml"))
    layer = SiteLayer("Held-out sites: NSE", path, TABLE, "point", legend, "NSE")
    products = {product.suffix: layers(run, product) for product in run.config.publish.products}
    faults = verify_project(
        write_run_project(run, products, LayerGroup("Scores", (layer,), expanded=False))
    )
    if faults:
        raise InputError(faults)
    return path
