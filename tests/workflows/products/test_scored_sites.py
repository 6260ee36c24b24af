"""Locations of the scored sites, and the layers of their scores."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import xarray as xr
from shapely.geometry import box

from pipeline.core.errors import InputError
from pipeline.cube.locations import write_locations
from pipeline.entries.source import Source
from pipeline.publish.qgis import read_project
from workflows.products.project import write_run_project
from workflows.products.scored_sites import (
    Colouring,
    basins_of,
    mean_lonlat,
    scored_series,
    scores_groups,
    site_lonlat,
    write_scored_sites,
)


def test_the_mean_across_the_antimeridian_is_not_on_the_other_side() -> None:
    lon, lat = mean_lonlat(np.array([179.0, -179.0]), np.array([10.0, 10.0]))
    assert abs(abs(lon) - 180) < 1e-9
    assert abs(lat - 10) < 0.01


def test_a_site_lies_amid_its_cells() -> None:
    table = xr.Dataset(
        coords={
            "site": ("cell", [3, 3, 7]),
            "lon": ("cell", [10.0, 12.0, -50.0]),
            "lat": ("cell", [0.0, 0.0, 40.0]),
        }
    )
    lon, lat = site_lonlat(table, np.array([7, 3]))
    np.testing.assert_allclose(lon, [-50, 11])
    np.testing.assert_allclose(lat, [40, 0], atol=1e-12)


@pytest.fixture
def gauged(tmp_path: Path) -> tuple[Path, Source]:
    """The cube of three gauged basins, and the vector file with their polygons."""
    boxes = [box(10 + i, 40, 11 + i, 41) for i in (2, 0, 1)]
    shapes = geopandas.GeoDataFrame({"gauge": ["103", "00101", "102"]}, geometry=boxes, crs=4326)
    shapes.to_file(tmp_path / "basins.gpkg")
    ds = xr.Dataset(
        {"v": ("cell", np.zeros(3, np.float32))},
        {
            "cell": [0, 1, 2], "site": ("cell", ["101", "102", "103"]),
            "lat": ("cell", [40.5] * 3), "lon": ("cell", [10.5, 11.5, 12.5]),
        },
    )  # fmt: skip
    write_locations(tmp_path / "cube.zarr", ds)
    source = Source(name="shapes", title="t", uri=str(tmp_path / "basins.gpkg"), driver="vector",
                    licence="none")  # fmt: skip
    return tmp_path / "cube.zarr", source


def scored() -> tuple[xr.Dataset, xr.Dataset]:
    """Held-out series of three sites by two models, and the table of where they lie."""
    observed = np.tile(np.arange(4.0), (3, 1))
    predicted = np.stack([observed, observed + np.array([[0.0], [1.0], [2.0]])])
    heldout = xr.Dataset(
        {
            "observed": (("site", "time"), observed),
            "predicted": (("model", "site", "time"), predicted),
        },
        {
            "model": ["ridge", "stefaland"], "site": [0, 1, 2],
            "fold": ("site", ["a", "a", "b"]), "region": ("site", ["r", "s", "t"]),
        },
    )  # fmt: skip
    lonlat = {"lon": ("cell", [10.5, 11.5, 12.5]), "lat": ("cell", [40.5] * 3)}
    return heldout, xr.Dataset(coords={"cell": [0, 1, 2], "site": ("cell", [0, 1, 2]), **lonlat})


def test_basins_have_the_scores_of_their_gauges(
    gauged: tuple[Path, Source], tmp_path: Path
) -> None:
    frame, colouring = scored_series(*scored()), Colouring.of_task("regression")
    polygons = basins_of(*gauged, "gauge", frame["site"].to_numpy())
    path = write_scored_sites(tmp_path / "maps" / "sites.gpkg", frame, polygons, colouring)
    basins = geopandas.read_file(path, layer="basins")
    sites = geopandas.read_file(path, layer="sites")
    np.testing.assert_allclose(basins["RMSE"], [0, 1, 2])
    np.testing.assert_allclose(basins["NSE"], sites["NSE"])
    assert basins.geometry.contains(sites.geometry).all()
    styles = geopandas.read_file(path, layer="layer_styles")
    assert list(styles["f_table_name"]) == ["sites", "basins"]
    assert styles["styleQML"].str.contains('attr="NSE"').all()
    groups = scores_groups(path, colouring, has_basins=True)
    root = read_project(write_run_project(tmp_path / "maps" / "test.qgz", "Test", {}, groups))
    shown = {node.get("name"): node.get("checked") for node in root.iter("layer-tree-layer")}
    # The basins would hide the map; three gauges do not.
    assert shown == {
        "Held-out sites: NSE": "Qt::Checked", "Held-out basins: NSE": "Qt::Unchecked",
    }  # fmt: skip


def test_a_gauge_without_a_polygon_is_named(gauged: tuple[Path, Source]) -> None:
    cube, source = gauged
    shapes = geopandas.read_file(source.uri)
    shapes.iloc[:2].to_file(source.uri)
    with pytest.raises(InputError, match=r"sites without a polygon, 1 \(102\)"):
        basins_of(cube, source, "gauge", np.arange(3))
