"""The scored sites and their basins with each model's scores: a GeoPackage, and layers in QGIS.

Upstream: the held-out table of score.py and the published maps. Downstream: QGIS.
"""

from __future__ import annotations

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
"""Of more sites the layer is off when the project opens: they would hide the map."""
SCORES = ("NSE", "KGE", "RMSE", "bias")


@dataclass(frozen=True)
class Colouring:
    """The column of the scores that sites and basins show, and its legend."""

    column: str
    legend: Legend

    @classmethod
    def of_task(cls, task: str) -> Colouring:
        """NSE of series, else the root mean square error over a site's parts."""
        is_series = values_of(task) == "quantity"
        name, column = ("score", "NSE") if is_series else ("site_error", "RMSE")
        return cls(column, read_legend(catalog_path(f"legends/{name}.yml")))


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


def scored_series(heldout: xr.Dataset, table: xr.Dataset) -> GeoDataFrame:
    """The sites of held-out series as points, with each model's scores.

    `heldout` is that of `heldout_series`, `table` has the cells' `site`, `lon` and `lat`.
    StefaLand's scores are in the columns NSE, KGE, RMSE and bias, another model's NSE in
    `<model>_NSE`.
    """
    columns = _about(heldout) | {"observed_mean": heldout["observed"].mean("time").values}
    for model in map(str, heldout["model"].values):
        predicted = heldout["predicted"].sel(model=model).values
        scores = finish(accumulate(heldout["observed"].values, predicted))
        if model == "stefaland":
            columns |= {name: scores[name] for name in SCORES}
        else:
            columns[f"{model}_NSE"] = scores["NSE"]
    places = places_of(table, heldout["site"].values)
    return sites_frame(*places, columns)


def scored_places(heldout: xr.Dataset, table: xr.Dataset) -> GeoDataFrame:
    """As `scored_series`, of targets that are one value a place (that of `heldout_places`).

    Has each part observed and as StefaLand predicts it, of soil texture the class of both, and
    the root mean square error over the parts: StefaLand's in RMSE, another's in `<model>_RMSE`.
    """
    columns = _about(heldout)
    own = heldout.sel(model="stefaland")
    for kind in ("observed", "predicted"):
        shares = {str(part): own[kind].sel(part=part).values for part in own["part"].values}
        columns |= {f"{part}_{kind}": values for part, values in shares.items()}
        if set(FRACTIONS) == set(shares):
            codes = usda_class(*(shares[part] for part in FRACTIONS))
            columns[f"class_{kind}"] = np.array([CLASSES[code - 1] for code in codes])
    for model in map(str, heldout["model"].values):
        gap = heldout["predicted"].sel(model=model).values - heldout["observed"].values
        columns["RMSE" if model == "stefaland" else f"{model}_RMSE"] = np.sqrt((gap**2).mean(-1))
    # Each cell of a place is scored by itself, also where several share a site.
    places = places_of(table.assign_coords(site=table["cell"]), heldout["site"].values)
    return sites_frame(*places, columns)


def _about(heldout: xr.Dataset) -> dict[str, np.ndarray]:
    return {
        "site": heldout["site"].values.astype(np.int64),
        "fold": heldout["fold"].values.astype(str),
        "region": heldout["region"].values.astype(str),
    }


def write_scored_sites(
    path: Path, sites: GeoDataFrame, basins: GeoSeries | None, colouring: Colouring
) -> Path:
    """Write the sites as a GeoPackage, and as polygons too where there are `basins` of them."""
    frames: dict[str, GeoDataFrame] = {SITES: sites}
    if basins is not None:
        frames[BASINS] = sites.set_geometry(basins)
    styles = {
        name: renderer_element(GEOMETRIES[name], colouring.legend, colouring.column)
        for name in frames
    }
    return write_sites(path, frames, styles)


def scores_groups(path: Path, colouring: Colouring, has_basins: bool) -> list[LayerGroup]:
    """The group of the scored sites and basins in the QGIS project; none before there are any."""
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
    """The basin of each site among the polygons of `source`, whose `column` has the names that the
    sites of the cube have.
    """
    store = open_cube(cube)
    names = dict(zip(sites.tolist(), map(str, sites), strict=True))
    if "cell" in store.dims and "site" in store.coords:
        cells, texts = store["cell"].values, store["site"].values
        names |= dict(zip(cells.tolist(), map(str, texts), strict=True))
    return polygons_of(source, column, [names[i] for i in sites.tolist()])
