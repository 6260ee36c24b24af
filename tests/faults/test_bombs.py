"""Small texts and files of others that stand for more than a machine can hold or count."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from pipeline.core.errors import Faults, InputError
from pipeline.core.files import read_json
from pipeline.core.notation.unit_notation import UnknownUnitsError
from pipeline.core.units import linear_conversion
from pipeline.entries import file_series
from pipeline.entries.source import Source
from pipeline.fetch.manifest import NAME, Manifest
from pipeline.grid.named_grids import grids_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import tile_grid
from pipeline.readers.registry import read_files
from pipeline.sources.open import check_source
from stefaland.folds.fold import Fold

DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def _quickly() -> Iterator[None]:
    """Each bomb is refused before it goes off; the machine may be loaded."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 20


def source(uri: Any = "x.nc", driver: str = "netcdf", **more: Any) -> Source:
    variables = {"x": {"name": "x", "units": "1"}}
    return Source.model_validate(
        {"name": "a", "uri": uri, "driver": driver, "variables": variables, **more}
    )


@pytest.mark.parametrize("uri", [
    "{year}/{month:02d}{day:02d}{hour:02d}.nc", "{year}{doy:03d}.nc",
    [f"{i}_{{year}}{{month:02d}}.nc" for i in range(20)],
])  # fmt: skip
def test_years_for_too_many_files_are_refused(uri: Any) -> None:
    with pytest.raises(ValidationError, match=r"time\.years for which the uri names [\d,]+ files"):
        source(uri, time={"years": [1, 9999]})


@pytest.mark.parametrize("years", [[0, 2000], [1, 10_000], [1, 10**12]])
def test_years_are_those_of_dates(years: list[int]) -> None:
    with pytest.raises(ValidationError, match="1 to 9999"):
        source("{year}.nc", time={"years": years})


@pytest.mark.parametrize("uri", ["*/*.nc", "f*/x", "f1/*"])
def test_globs_of_too_many_files_are_refused(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_series, "MAX_FILES", 5)
    for i in range(6):
        (tmp_path / f"f{i}").mkdir()
    for i in range(6):
        (tmp_path / "f1" / f"{i}.nc").touch()
    with pytest.raises(InputError, match="more than 5 files or folders"):
        _ = source(str(tmp_path / uri)).files


def test_a_glob_of_many_stars_takes_no_time(tmp_path: Path) -> None:
    (tmp_path / ("a" * 200)).touch()
    assert len(source(str(tmp_path / ("*a" * 60 + "b"))).files) == 1


@pytest.mark.parametrize("name", ["band_[1-999999999]", f"band_[1-{10**30}]", "band_999999999"])
def test_bands_beyond_those_of_the_file_are_refused(name: str, tmp_path: Path) -> None:
    import rasterio

    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", height=2, width=3, count=1,
                       dtype="uint8", crs="EPSG:4326",
                       transform=rasterio.transform.from_origin(0, 2, 1, 1)) as file:  # fmt: skip
        file.write(np.ones((1, 2, 3), "uint8"))
    variables = {"x": {"name": name, "units": "1"}}
    with pytest.raises(InputError, match="1 bands"):
        read_files(source(str(tmp_path / "a.tif"), "raster", variables=variables))


def test_many_codes_of_classes_are_read_in_no_time() -> None:
    entry = source(kind="categorical", method="mode", classes={"a": list(range(50_000))})
    assert len(entry.classes["a"]) == 50_000
    with pytest.raises(ValidationError, match="more than one class: 7"):
        source(kind="categorical", method="mode", classes={"a": [*range(50_000), 7]})


@pytest.mark.parametrize("units", [
    "m" * 100_000, "(" * 5000 + "m" + ")" * 5000, "m^99999999999", "m-1000000", "9^9^9^9 m",
    "see " + "a" * 100_000,
])  # fmt: skip
def test_texts_that_are_no_units_take_no_time(units: str) -> None:
    with pytest.raises(UnknownUnitsError):
        linear_conversion(units, "m")


@pytest.mark.parametrize("expression", ["(" * 900 + "a" + ")" * 900, "-" * 1900 + "a", "a" * 3000])
def test_expressions_are_bounded(expression: str) -> None:
    variables = {"x": {"expression": expression, "operands": {"a": {"name": "a"}}, "units": "1"}}
    with pytest.raises(ValidationError):
        source(variables=variables)


@pytest.mark.parametrize("settings, words", [
    ({"bounds": [0, 0, 10, 10], "resolution": 1e-9}, "1 to 50,000,000 rows"),
    ({"bounds": [0, 0, 10, 10], "resolution": 1e-300}, "1 to 50,000,000 rows"),
    ({"bounds": [0, 0, float("inf"), 10], "resolution": 1}, "whole number of cells"),
    ({"bounds": [0, 0, 10, 10], "resolution": float("nan")}, "whole number of cells"),
])  # fmt: skip
def test_grids_have_a_number_of_cells_that_can_be_counted(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        grids_of({"g": {"crs": "EPSG:3857", **settings}}, "my.yml", {})


def test_grids_are_cut_into_a_number_of_tiles_that_can_be_listed() -> None:
    grid = TargetGrid.from_bounds("g", "EPSG:3857", (0, 0, 10_000_000, 10_000_000), 1.0)
    with pytest.raises(InputError, match="at most 2,000,000 tiles"):
        tile_grid(grid, 1)
    assert len(tile_grid(grid, 100_000)) == 10_000


@pytest.mark.parametrize("step", [None, "hourly", "daily"])
@pytest.mark.parametrize("last, units", [(9 * 10**9, "seconds"), (10**9, "minutes")])
def test_times_far_apart_are_refused_before_the_steps_between_are_listed(
    last: int, units: str, step: str | None, tmp_path: Path
) -> None:
    if step == "daily":
        last *= 10**3
    times = ("time", np.array([0, 1, 2, 3, last], "int64"), {"units": f"{units} since 1970-01-01"})
    lat, lon = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    values = (("time", "lat", "lon"), np.ones((5, 2, 2), "float32"), {"units": "1"})
    ds = xr.Dataset({"x": values}, {"time": times, "lat": lat, "lon": lon})
    ds.to_netcdf(tmp_path / "a.nc")
    for gaps in ("refuse", "missing"):
        settings = {"gaps": gaps, **({"step": step} if step else {})}
        faults = Faults()
        check_source(source(str(tmp_path / "a.nc"), time=settings), faults)
        assert faults.faults


def test_json_nested_deeply_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(DEEP)
    with pytest.raises(InputError, match="nested too deeply"):
        read_json(path)
    with pytest.raises(InputError):
        Fold.load(path)
    with pytest.raises(InputError, match="references"):
        read_files(source(str(path), "zarr"))
    with pytest.raises(InputError, match="no such document"):
        read_files(source(str(path), options={"asset": "x"}))


def test_json_of_a_zarr_store_nested_deeply_is_one_error(tmp_path: Path) -> None:
    for name in ("zarr.json", ".zgroup", ".zmetadata"):
        store = tmp_path / f"{name}.zarr"
        store.mkdir()
        (store / name).write_text(json.dumps({"zarr_format": 2})[:-1] + f', "a": {DEEP}')
        with pytest.raises(InputError):
            read_files(source(str(store), "zarr"))


def test_the_manifest_of_a_fetch_nested_deeply_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(DEEP + "\n")
    assert not Manifest(tmp_path).records()
