"""The canonical form of small files: every driver, windows, and faults reported together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

VARIABLES = {
    "rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 500)),
    "warmth": Variable(long_name="warmth", units="degC", valid_range=(-90, 60)),
    "share": Variable(long_name="share", units="1", valid_range=(0, 1)),
    "kind": Variable(long_name="kind", units="1"),
}


def entry(path: Path, variables: dict[str, Any], **settings: Any) -> Source:
    settings = {
        "name": "test", "uri": str(path), "driver": "netcdf", "variables": variables,
        "dims": {"y": "lat", "x": "lon"}, **settings,
    }  # fmt: skip
    return Source.model_validate(settings)


def canonical(source: Source, window: tuple[float, float, float, float] | None = None) -> Any:
    return canonicalise(open_source(source, window), source, VARIABLES)


def world(path: Path, west: float, step: float, south_up: bool) -> Source:
    """Write a global field whose values depend on longitude and latitude."""
    lon = west + step * (np.arange(round(360 / step)) + 0.5)
    lat = -90 + step * (np.arange(round(180 / step)) + 0.5)
    lat = lat if south_up else lat[::-1]
    frame = (lon + 180) % 360 - 180
    values = (lat[:, None] * 0.3 + np.abs(frame) * 0.1)[None].astype(np.float32)
    ds = xr.Dataset(
        {"v": (("time", "lat", "lon"), values, {"units": "degC"})}, {"lat": lat, "lon": lon}
    )
    ds.to_netcdf(path)
    return entry(path, {"warmth": {"name": "v"}})


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Source, xr.DataArray]]:
    """Return a global field stored in four ways, each with its complete canonical form."""
    folder = tmp_path_factory.mktemp("worlds")
    found = {}
    for west in (0.0, -180.0):
        for south_up in (True, False):
            name = f"{west:g}-{south_up}"
            source = world(folder / f"{name}.nc", west, 5.0, south_up)
            found[name] = source, canonical(source)["warmth"].load()
    return found


@given(
    st.sampled_from(["0-True", "0-False", "-180-True", "-180-False"]),
    st.floats(-180, 180), st.floats(-85, 60), st.floats(1, 120), st.floats(1, 25),
)  # fmt: skip
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_window_has_the_values_of_the_whole(
    frames: dict[str, tuple[Source, xr.DataArray]],
    name: str, west: float, south: float, width: float, height: float,
) -> None:  # fmt: skip
    source, whole = frames[name]
    part = canonical(source, (west, south, west + width, south + height))["warmth"]
    assert set(part["x"].values) <= set(whole["x"].values)
    np.testing.assert_array_equal(part.values, whole.sel(x=part["x"], y=part["y"]).values)
    # Every cell whose centre the window holds is there, also beyond the antimeridian.
    inside = (whole["x"].values - west) % 360.0 <= width
    assert set(whole["x"].values[inside]) <= set(part["x"].values)
    rows = whole["y"].values
    held = rows[(rows >= south) & (rows <= south + height)]
    assert set(held) <= set(part["y"].values)


def test_a_window_is_smaller_than_the_whole(
    frames: dict[str, tuple[Source, xr.DataArray]],
) -> None:
    source, whole = frames["-180-False"]
    part = canonical(source, (10.0, 10.0, 20.0, 20.0))["warmth"]
    assert part.size < whole.size / 50


def test_the_form_has_its_types_and_attributes(
    frames: dict[str, tuple[Source, xr.DataArray]],
) -> None:
    for _, field in frames.values():
        assert field.dims == ("time", "y", "x")
        assert field.dtype == np.float32
        assert field["x"].dtype == field["y"].dtype == np.float64
        assert (np.diff(field["y"]) < 0).all()
        assert (np.diff(field["x"]) > 0).all()
        assert field["x"].values[[0, -1]].tolist() == [-177.5, 177.5]
        assert field.attrs["units"] == "degC"


def simple(path: Path, **arrays: Any) -> None:
    coords = {"lat": [1.0, 0.0], "lon": [0.0, 1.0, 2.0]}
    xr.Dataset(
        {
            name: (("lat", "lon"), np.asarray(values), attrs)
            for name, (values, attrs) in arrays.items()
        },
        coords,
    ).to_netcdf(path)


def test_all_faults_of_a_source_come_together(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    simple(
        path, r=(np.full((2, 3), 600.0), {"units": "mm/day"}),
        t=(np.full((2, 3), 1.0), {"units": "kg"}), s=(np.full((2, 3), 0.5), {"units": "1"}),
    )  # fmt: skip
    variables = {"rain": {"name": "r"}, "share": {"name": "s", "scale": 4.0}}
    with pytest.raises(InputError) as caught:
        canonical(entry(path, {**variables, "shre": {"name": "s"}}))
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert "values from 600 to 600 mm/day" in text
    assert "values from 2 to 2" in text
    assert 'Did you mean "share"?' in text


def test_every_missing_variable_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    simple(path, rainfall=(np.ones((2, 3)), {"units": "mm/day"}))
    source = entry(path, {"rain": {"name": "rainfal"}, "warmth": {"name": "tas"}})
    with pytest.raises(InputError) as caught:
        open_source(source)
    assert len(caught.value.faults) == 2
    assert 'Did you mean "rainfall"?' in str(caught.value)


def test_missing_and_empty_files_say_how_to_get_them(tmp_path: Path) -> None:
    folder = tmp_path / "itur" / "data"
    folder.mkdir(parents=True)
    source = entry(
        folder / "m{month:02d}.npz", {"rain": {"name": "arr_0"}}, driver="npz",
        lat="lat", lon="lon",
    )  # fmt: skip
    (folder / "m03.npz").touch()
    faults = Faults()
    assert check_source(source, faults) is None
    assert len(faults.faults) == 12
    assert sum("an empty file" in str(fault) for fault in faults.faults) == 1
    assert "make data" in str(faults.faults[0])


def test_a_file_without_units_needs_them_in_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    simple(path, s=(np.ones((2, 3)), {}))
    faults = Faults()
    check_source(entry(path, {"land_fraction": {"name": "s"}}), faults)
    assert "units" in str(faults.faults[0])
    faults = Faults()
    check_source(entry(path, {"land_fraction": {"name": "s", "units": "1"}}), faults)
    assert not faults.faults


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    ds = xr.Dataset(
        {"s": (("lat", "lon"), np.ones((3, 2)), {"units": "1"})},
        {"lat": [0.0, 2.0, 1.0], "lon": [0.0, 1.0]},
    )
    ds.to_netcdf(path)
    with pytest.raises(InputError, match="rows that are out of order or duplicates"):
        canonical(entry(path, {"share": {"name": "s"}}))


def npz_months(tmp_path: Path) -> Source:
    """Write months padded like the rain maps of ITU-R, with an extra row and column at each end."""
    lat, lon = np.linspace(15, -15, 4), np.linspace(-15, 25, 5)
    for month in range(1, 13):
        np.savez(tmp_path / f"m{month:02d}.npz", np.full((4, 5), 30.0 + month))
    np.savez(tmp_path / "lat.npz", np.repeat(lat[:, None], 5, 1))
    np.savez(tmp_path / "lon.npz", np.repeat(lon[None], 4, 0))
    return entry(
        tmp_path / "m{month:02d}.npz", {"rain": {"name": "arr_0", "units": "mm/month"}},
        driver="npz", dims={}, lat=str(tmp_path / "lat.npz"), lon=str(tmp_path / "lon.npz"),
        trim=(1, 1), trim_start=(1, 1), time={"kind": "months"},
    )  # fmt: skip


def test_monthly_archives_are_trimmed_stacked_and_per_day(tmp_path: Path) -> None:
    rain = canonical(npz_months(tmp_path))["rain"]
    assert rain.dims == ("time", "y", "x")
    assert rain.shape == (12, 2, 3)
    assert rain["y"].values.tolist() == [5.0, -5.0]
    assert rain["x"].values.tolist() == [-5.0, 5.0, 15.0]
    days = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    np.testing.assert_allclose(rain.values[:, 0, 0], (30.0 + np.arange(1, 13)) / days, rtol=1e-6)
    assert rain["time"].dt.month.values.tolist() == list(range(1, 13))


def test_a_distribution_becomes_its_mean(tmp_path: Path) -> None:
    levels = np.zeros((2, 2, 12, 2))
    levels[..., 0], levels[..., 1] = 0.2, 0.6
    weights = np.full((2, 2, 12, 2), 0.5)
    weights[0, 0] = [3.0, 1.0]
    weights[1, 1] = 0.0
    path = tmp_path / "a.npz"
    np.savez(path, xk=levels, pk=weights, lat=np.array([10.0, 0.0]), lon=np.array([0.0, 10.0]))
    source = entry(
        path, {"share": {"name": "xk", "probabilities": "pk", "units": "1"}}, driver="npz",
        dims={}, lat="lat", lon="lon", time={"kind": "months"},
    )  # fmt: skip
    found = canonical(source)["share"].values
    assert found.shape == (12, 2, 2)
    np.testing.assert_allclose(found[5], [[0.3, 0.4], [0.4, np.nan]], rtol=1e-6)


def test_dealt_out_records_come_back_in_order(tmp_path: Path) -> None:
    # Written as [layer][month] and read as [month][layer]: what swl1, swl2, … then hold.
    truth = np.arange(3 * 12, dtype=np.float64).reshape(3, 12) / 100
    dealt = truth.reshape(-1).reshape(12, 3)
    path = tmp_path / "a.nc"
    ds = xr.Dataset(
        {
            f"swl{i + 1}": (("time", "lat", "lon"), np.tile(dealt[:, i, None, None], (1, 2, 2)))
            for i in range(3)
        },
        {"lat": [1.0, 0.0], "lon": [0.0, 1.0]},
    )
    ds.to_netcdf(path)
    for layer in range(3):
        variable = {
            "name": "swl1", "units": "1", "records": ["swl1", "swl2", "swl3"], "layer": layer,
        }  # fmt: skip
        source = entry(path, {"share": variable}, time={"kind": "months"})
        np.testing.assert_allclose(canonical(source)["share"].values[:, 0, 0], truth[layer])


def test_zarr_and_netcdf_give_the_same(tmp_path: Path) -> None:
    ds = xr.Dataset(
        {"s": (("lat", "lon"), np.float32([[0.1, np.nan], [0.3, 0.4]]), {"units": "1"})},
        {"lat": [0.0, 1.0], "lon": [359.5, 0.5]},
    )
    ds.to_netcdf(tmp_path / "a.nc")
    ds.to_zarr(tmp_path / "a.zarr")
    one = canonical(entry(tmp_path / "a.nc", {"share": {"name": "s"}}))["share"]
    two = canonical(entry(tmp_path / "a.zarr", {"share": {"name": "s"}}, driver="zarr"))["share"]
    xr.testing.assert_identical(one.load(), two.load())
    assert one["x"].values.tolist() == [-0.5, 0.5]
    np.testing.assert_array_equal(one.values, np.float32([[0.3, 0.4], [0.1, np.nan]]))


def raster(path: Path, values: np.ndarray, crs: str, west: float = 170.0, **settings: Any) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1,
        dtype=values.dtype, crs=crs, transform=rasterio.transform.from_origin(west, 20, 10, 10),
        **settings,
    ) as file:  # fmt: skip
        file.write(values, 1)


def test_projected_coordinates_are_not_longitudes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    raster(path, np.float32([[0.1, 0.2, 0.3]]), "EPSG:5070", 1000.0)
    source = entry(
        path, {"share": {"name": "band_1", "units": "1"}}, driver="raster", dims={}, crs="EPSG:5070"
    )
    ds = canonical(source)
    assert ds["x"].values.tolist() == [1005.0, 1015.0, 1025.0]
    assert "Albers" in ds["spatial_ref"].attrs["crs_wkt"]


def test_what_the_entry_or_the_file_calls_missing_is_missing(tmp_path: Path) -> None:
    variable = {"name": "band_1", "units": "1", "scale": 1e-4}
    for name, declared, extra in (("a", None, {"nodata": -99}), ("b", -99, {})):
        path = tmp_path / f"{name}.tif"
        raster(path, np.int16([[5000, 0, -99]]), "EPSG:4326", -30.0, nodata=declared)
        source = entry(path, {"share": {**variable, **extra}}, driver="raster", dims={})
        found = canonical(source)["share"].values
        np.testing.assert_allclose(found, [[0.5, 0.0, np.nan]], rtol=1e-6)


def test_a_fill_that_nobody_declares_is_refused_by_its_value(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    raster(path, np.int16([[5000, 0, -99]]), "EPSG:4326", -30.0)
    variable = {"name": "band_1", "units": "1", "scale": 1e-4}
    source = entry(path, {"share": variable}, driver="raster", dims={})
    with pytest.raises(InputError, match=r"values from -0\.0099"):
        canonical(source).load()
