"""Region labels: inside, off every shore, on a shared border, and refusals."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
from shapely.geometry import box

from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.sites.regions import read_polygons, region_labels


def polygons(path: Path, crs: str = "EPSG:4326") -> Source:
    frame = geopandas.GeoDataFrame(
        {"region": ["west", "east"], "code": [1, 2]},
        geometry=[box(10, 0, 30, 10), box(30, 0, 50, 10)],
        crs="EPSG:4326",
    )
    frame.to_crs(crs).to_file(path, driver="GPKG")
    return Source.model_validate({"name": "regions", "uri": str(path), "driver": "vector"})


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:6933"])
def test_locations_inside_and_off_shore_in_any_crs(tmp_path: Path, crs: str) -> None:
    source = polygons(tmp_path / "regions.gpkg", crs)
    lon, lat = np.array([20.0, 40.0, 5.0, 51.0, 35.0]), np.array([5.0, 5.0, 5.0, 12.0, -3.0])
    labels = region_labels(lon, lat, source, "region")
    assert labels.tolist() == ["west", "east", "west", "east", "east"]
    assert labels.dtype.kind == "U"


def test_a_location_on_a_shared_border_has_one_label_each_time(tmp_path: Path) -> None:
    source = polygons(tmp_path / "regions.gpkg")
    first = region_labels(np.array([30.0]), np.array([5.0]), source, "region")
    assert first[0] in ("west", "east")
    assert first == region_labels(np.array([30.0, 31.0]), np.array([5.0, 5.0]), source, "region")[0]


def test_numbers_become_text(tmp_path: Path) -> None:
    source = polygons(tmp_path / "regions.gpkg")
    assert region_labels(np.array([45.0]), np.array([5.0]), source, "code").tolist() == ["2"]


def test_an_unknown_column_gets_the_nearest(tmp_path: Path) -> None:
    source = polygons(tmp_path / "regions.gpkg")
    with pytest.raises(InputError, match='Did you mean "region"') as caught:
        region_labels(np.array([5.0]), np.array([5.0]), source, "regon")
    assert "regions.gpkg" in str(caught.value)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "regions.gpkg"
    source = Source.model_validate({"name": "regions", "uri": str(path), "driver": "vector"})
    with pytest.raises(InputError, match="no such file"):
        read_polygons(source)
    path.write_text("not polygons")
    with pytest.raises(InputError, match=r"regions\.gpkg"):
        read_polygons(source)
