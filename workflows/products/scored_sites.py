"""The scored sites and their basins with each model's scores: a GeoPackage, and layers in QGIS.

Upstream: the held-out table of score.py and the published maps. Downstream: QGIS.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from pipeline.cube.open import open_cube
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
from workflows.config.schema import Basins
from workflows.products.map_layers import layers
from workflows.products.project import write_run_project
from workflows.run import Run, catalog_path

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries

SITES, BASINS = "sites", "basins"
GEOMETRIES: dict[str, Geometry] = {SITES: "point", BASINS: "polygon"}
SHOWN = 200
"""Of more sites the layer is off when the project opens: they would hide the map."""
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
    """Write the sites and put them on the run's QGIS project.

    `heldout` is that of score.py, `table` has the cells' `site`, `lon` and `lat`. StefaLand's
    scores are in the columns NSE, KGE, RMSE and bias, another model's NSE in `<model>_NSE`.
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
    return _written(run, sites_frame(*places, columns))


def write_scored_places(run: Run, heldout: xr.Dataset, table: xr.Dataset) -> Path:
    """As `write_scored_sites`, of targets that are one value a place (that of score_places.py).

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
    return _written(run, sites_frame(*places, columns))


def _about(heldout: xr.Dataset) -> dict[str, np.ndarray]:
    return {
        "site": heldout["site"].values.astype(np.int64),
        "fold": heldout["fold"].values.astype(str),
        "region": heldout["region"].values.astype(str),
    }


def _written(run: Run, sites: GeoDataFrame) -> Path:
    """Write the frame, and its basins where the config names polygons, and show them in QGIS."""
    frames: dict[str, GeoDataFrame] = {SITES: sites}
    basins = run.config.publish.basins
    if basins is not None:
        polygons = _polygons(run, basins, sites["site"].to_numpy())
        frames[BASINS] = sites.set_geometry(polygons)
    legend, column = _coloured_by(run)
    styles = {name: renderer_element(GEOMETRIES[name], legend, column) for name in frames}
    path = write_sites(sites_path(run), frames, styles)
    products = {product.suffix: layers(run, product) for product in run.config.publish.products}
    write_run_project(run, products, *scores_groups(run))
    return path


def _coloured_by(run: Run) -> tuple[Legend, str]:
    """The legend and the column of the scores that sites and basins show."""
    is_series = values_of(run.config.finetune.task) == "quantity"
    name, column = ("score", "NSE") if is_series else ("site_error", "RMSE")
    return read_legend(catalog_path(f"legends/{name}.yml")), column


def scores_groups(run: Run) -> list[LayerGroup]:
    """The group of the scored sites and basins in the QGIS project; none before there are any."""
    path = sites_path(run)
    if not path.exists():
        return []
    count = site_count(path, SITES)
    legend, column = _coloured_by(run)
    names = [SITES] if run.config.publish.basins is None else [SITES, BASINS]
    shown = tuple(
        SiteLayer(
            f"Held-out {name}: {column}", path, name, GEOMETRIES[name], legend, column,
            visible=name == SITES and count is not None and count <= SHOWN,
        )
        for name in names
    )  # fmt: skip
    return [LayerGroup("Scores", shown, expanded=False)]


def _polygons(run: Run, basins: Basins, sites: np.ndarray) -> GeoSeries:
    """The basin of each site, by the name that the site's source gives it."""
    store = open_cube(run.cube(run.config.finetune.cube))
    names = dict(zip(sites.tolist(), map(str, sites), strict=True))
    if "cell" in store.dims and "site" in store.coords:
        cells, texts = store["cell"].values, store["site"].values
        names |= dict(zip(cells.tolist(), map(str, texts), strict=True))
    return polygons_of(
        run.catalog[basins.source], basins.column, [names[i] for i in sites.tolist()]
    )
