"""Scored sites and their basins with each model's scores: a GeoPackage, and layers in QGIS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from pipeline.core.packaged import catalog_path
from pipeline.cube.open import open_cube
from pipeline.entries.source import Source
from pipeline.maps.legend import Legend, read_legend
from pipeline.maps.texture import CLASSES, FRACTIONS, usda_class
from pipeline.publish.geopackage import (
    Geometry,
    renderer_element,
    site_count,
    sites_frame,
    write_sites,
)
from pipeline.publish.qgis_layers import LayerGroup, SiteLayer
from pipeline.sites.regions import polygons_of
from stefaland.metrics import accumulate, finish
from stefaland.tasks import values_of

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries

SITES, BASINS = "sites", "basins"
GEOMETRIES: dict[str, Geometry] = {SITES: "point", BASINS: "polygon"}
SHOWN = 200
"""Maximum number of sites for which the layer is visible at first; more would hide the map."""
SCORES = ("NSE", "KGE", "RMSE", "bias")


@dataclass(frozen=True)
class Colouring:
    """The column of scores by which sites and basins are coloured, and its legend."""

    column: str
    legend: Legend

    @classmethod
    def of_task(cls, task: str) -> Colouring:
        """NSE for series, else the root mean square error over the parts of a site's target."""
        is_series = values_of(task) == "quantity"
        name, column = ("score", "NSE") if is_series else ("site_error", "RMSE")
        return cls(column, read_legend(catalog_path(f"legends/{name}.yml")))


def mean_lonlat(lon: np.ndarray, lat: np.ndarray) -> tuple[float, float]:
    """Mean longitude and latitude in degrees, computed on the sphere (antimeridian included)."""
    east, north = np.deg2rad(lon), np.deg2rad(lat)
    x, y = np.mean(np.cos(north) * np.cos(east)), np.mean(np.cos(north) * np.sin(east))
    z = np.mean(np.sin(north))
    return float(np.rad2deg(np.arctan2(y, x))), float(np.rad2deg(np.arctan2(z, np.hypot(x, y))))


def site_lonlat(table: xr.Dataset, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of each site, the mean of its cells in a labelled table."""
    owner = table["site"].values
    found = [
        mean_lonlat(table["lon"].values[owner == site], table["lat"].values[owner == site])
        for site in sites
    ]
    lon, lat = (np.array(values) for values in zip(*found, strict=True))
    return lon, lat


def scored_series(heldout: xr.Dataset, table: xr.Dataset) -> GeoDataFrame:
    """The sites of held-out series as points, with each model's scores.

    `heldout` is the result of `heldout_series`; `table` has the cells' `site`, `lon` and `lat`.
    StefaLand's scores are in the columns NSE, KGE, RMSE and bias, another model's NSE in
    `<model>_NSE`.
    """
    columns = _labels(heldout) | {"observed_mean": heldout["observed"].mean("time").values}
    for model in map(str, heldout["model"].values):
        predicted = heldout["predicted"].sel(model=model).values
        scores = finish(accumulate(heldout["observed"].values, predicted))
        if model == "stefaland":
            columns |= {name: scores[name] for name in SCORES}
        else:
            columns[f"{model}_NSE"] = scores["NSE"]
    lonlat = site_lonlat(table, heldout["site"].values)
    return sites_frame(*lonlat, columns)


def scored_targets(tables: Mapping[str, xr.Dataset], cells: xr.Dataset) -> GeoDataFrame:
    """The sites with the scores of all targets: those of the first as in `scored_series`.

    Columns of the others begin with the name of their target.
    """
    first, *others = tables
    sites = scored_series(tables[first], cells)
    labels = {"geometry", *_labels(tables[first])}
    for name in others:
        of_target = scored_series(tables[name], cells)
        for column in of_target.columns:
            if column not in labels:
                sites[f"{name}_{column}"] = of_target[column].to_numpy()
    return sites


def scored_static(heldout: xr.Dataset, table: xr.Dataset) -> GeoDataFrame:
    """The sites of held-out static targets as points, with each model's scores.

    `heldout` is the result of `heldout_static`; `table` has the cells' `lon` and `lat`. Columns:
    each part as observed and as predicted by StefaLand, for soil texture the class of both, and the
    root mean square error over the parts: StefaLand's in RMSE, another's in `<model>_RMSE`.
    """
    columns = _labels(heldout)
    stefaland = heldout.sel(model="stefaland")
    for kind in ("observed", "predicted"):
        fractions = {
            str(part): stefaland[kind].sel(part=part).values for part in stefaland["part"].values
        }
        columns |= {f"{part}_{kind}": values for part, values in fractions.items()}
        if set(FRACTIONS) == set(fractions):
            codes = usda_class(*(fractions[part] for part in FRACTIONS))
            columns[f"class_{kind}"] = np.array([CLASSES[code - 1] for code in codes])
    for model in map(str, heldout["model"].values):
        gap = heldout["predicted"].sel(model=model).values - heldout["observed"].values
        columns["RMSE" if model == "stefaland" else f"{model}_RMSE"] = np.sqrt((gap**2).mean(-1))
    # Static targets are scored cell by cell, also where several cells share a site.
    lonlat = site_lonlat(table.assign_coords(site=table["cell"]), heldout["site"].values)
    return sites_frame(*lonlat, columns)


def _labels(heldout: xr.Dataset) -> dict[str, np.ndarray]:
    return {
        "site": heldout["site"].values.astype(np.int64),
        "fold": heldout["fold"].values.astype(str),
        "region": heldout["region"].values.astype(str),
    }


def write_scored_sites(
    path: Path, sites: GeoDataFrame, basins: GeoSeries | None, colouring: Colouring
) -> Path:
    """Write the sites as points, and as polygons where there are `basins`, to a GeoPackage."""
    frames: dict[str, GeoDataFrame] = {SITES: sites}
    if basins is not None:
        frames[BASINS] = sites.set_geometry(basins)
    styles = {
        name: renderer_element(GEOMETRIES[name], colouring.legend, colouring.column)
        for name in frames
    }
    return write_sites(path, frames, styles)


def scores_groups(path: Path, colouring: Colouring, has_basins: bool) -> list[LayerGroup]:
    """The group of the scored sites and basins in the QGIS project; empty before they exist."""
    if not path.exists():
        return []
    count, column = site_count(path, SITES), colouring.column
    shown = tuple(
        SiteLayer(
            name=f"Held-out {name}: {column}", path=path, table=name,
            geometry=GEOMETRIES[name], legend=colouring.legend, column=column,
            visible=name == SITES and count is not None and count <= SHOWN,
        )
        for name in ([SITES, BASINS] if has_basins else [SITES])
    )  # fmt: skip
    return [LayerGroup("Scores", shown, expanded=False)]


def basins_of(cube: Path, source: Source, column: str, sites: np.ndarray) -> GeoSeries:
    """The basin of each site: the polygon of `source` with the site's name in `column`."""
    store = open_cube(cube)
    names = dict(zip(sites.tolist(), map(str, sites), strict=True))
    if "cell" in store.dims and "site" in store.coords:
        cells, texts = store["cell"].values, store["site"].values
        names |= dict(zip(cells.tolist(), map(str, texts), strict=True))
    return polygons_of(source, column, [names[i] for i in sites.tolist()])
