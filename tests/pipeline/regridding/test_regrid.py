"""regrid(): choice of operator, lazy reading, gaps of the axes, classes, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pipeline.regridding.regrid as module
from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding import blocks
from pipeline.regridding.operators import Separable
from pipeline.regridding.regrid import METHODS, operator_for, regrid, source_window
from tests.gridded import globe, grid, source, with_gaps

CONUS = grid(-125, 24, -66.5, 50, 0.5)
ALBERS = TargetGrid.from_bounds("a", "EPSG:5070", (-2e6, 0, 2e6, 3e6), 250_000)


def test_engines_follow_from_the_grids() -> None:
    assert isinstance(operator_for(globe(5.0), CONUS, "mean"), Separable)
    assert not isinstance(operator_for(globe(5.0), ALBERS, "mean"), Separable)
    same = xr.Dataset({"v": (("y", "x"), np.zeros(ALBERS.shape))}, coords=ALBERS.coords())
    assert isinstance(operator_for(same, ALBERS, "mean"), Separable)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_same_grid_keeps_the_values(method: str) -> None:
    target = grid(-180, -90, 180, 90, 5)
    ds = with_gaps(globe(5.0).map(lambda da: np.floor(da * 4)).astype(np.float32))
    ds.v.attrs.update(units="degree", flag_values=[0, 1, 2, 3])
    result = regrid(ds, target, method)
    if method == "fractions":
        np.testing.assert_array_equal(result.v_fraction_2, (ds.v == 2).where(ds.v.notnull()))
    elif method == "std":
        np.testing.assert_array_equal(result.v, 0 * ds.v)
    else:
        np.testing.assert_array_equal(result.v, ds.v)
    np.testing.assert_array_equal(result.v_coverage, ds.v.notnull())


def test_a_file_is_read_in_blocks_and_never_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = xr.concat([globe(1.0).astype(np.float32)] * 7, "time")
    ds.to_netcdf(tmp_path / "v.nc", engine="netcdf4")
    largest = []
    read = module.read_window

    def watched(*args: object) -> np.ndarray:
        values = read(*args)
        largest.append(values.nbytes)
        return values

    monkeypatch.setattr(module, "read_window", watched)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 100_000)
    for method, target in (("mean", grid(-180, -90, 180, 90, 4)), ("bilinear", CONUS),
                           ("std", CONUS), ("mean", ALBERS)):  # fmt: skip
        with xr.open_dataset(tmp_path / "v.nc", engine="netcdf4") as lazy:
            result = regrid(lazy, target, method)
        xr.testing.assert_identical(result, regrid(ds, target, method))
    assert max(largest[:5]) <= 120_000


def test_windows_that_cross_the_seam_are_read_in_two_parts(tmp_path: Path) -> None:
    ds = globe(1.0).roll(x=180, roll_coords=True)
    ds = ds.assign_coords(x=ds.x.values % 360)
    ds.to_netcdf(tmp_path / "v.nc", engine="netcdf4")
    target = grid(-20, 0, 20, 30, 2.5)
    with xr.open_dataset(tmp_path / "v.nc", engine="netcdf4") as lazy:
        xr.testing.assert_identical(regrid(lazy, target, "mean"), regrid(ds, target, "mean"))


def test_leading_dims_are_kept_whatever_they_are() -> None:
    ds = xr.concat([globe(10.0), globe(10.0)], "level").expand_dims(time=3)
    result = regrid(ds, CONUS, "bilinear")
    assert result.v.dims == ("time", "level", "y", "x")
    np.testing.assert_array_equal(result.v[2, 1], regrid(globe(10.0), CONUS, "bilinear").v)


def test_a_target_partly_outside_is_missing_there() -> None:
    ds = globe(1.0).sel(y=slice(45, 30), x=slice(-120, -100))
    for method in ("mean", "bilinear", "nearest", "std"):
        result = regrid(ds, CONUS, method)
        assert 0 < float(result.v_coverage.mean()) < 0.5
        assert result.v.notnull().any()
        assert result.v.sel(y=40, x=-80, method="nearest").isnull()
    elsewhere = grid(0, 0, 10, 10, 1)
    with pytest.raises(InputError, match="no overlap"):
        regrid(ds, elsewhere, "mean")
    empty = regrid(ds, elsewhere, "mean", require_overlap=False)
    assert empty.v.isnull().all()
    assert (empty.v_coverage == 0).all()
    warped = regrid(globe(1.0).sel(x=slice(0, 50)), ALBERS, "mean", require_overlap=False)
    assert warped.v.isnull().all()


def test_a_gap_in_the_axis_is_no_source() -> None:
    ds = globe(1.0)
    ds = ds.isel(x=[*range(60), *range(70, 120)])
    result = regrid(ds, grid(-180, 0, -60, 10, 1.0), "conservative")
    assert (result.v_coverage.values[:, 60:70] == 0).all()
    assert (result.v_coverage.values[:, :60] == 1).all()
    assert (regrid(ds, grid(-180, 0, -60, 10, 1.0), "bilinear").v_coverage[:, 60:70] == 0).all()


def test_integers_are_taken_as_numbers_and_float64_stays() -> None:
    ds = globe(5.0)
    small = ds.assign(v=(ds.v * 100).astype(np.int16))
    assert regrid(small, CONUS, "mean").v.dtype == np.float32
    assert regrid(ds, CONUS, "mean").v.dtype == np.float64
    np.testing.assert_allclose(
        regrid(small, CONUS, "mean").v, regrid(small.astype(np.float64), CONUS, "mean").v, rtol=1e-6
    )


def test_labels_of_classes_become_names() -> None:
    ds = source(np.tile([[1, 2], [17, 17]], (5, 5)).astype(np.uint8), 5.0 - np.arange(10),
                np.arange(10.0), flag_values=np.array([1, 2, 17]),
                flag_meanings="evergreen_forest Open-water Snow/ice")  # fmt: skip
    result = regrid(ds, grid(0, -2, 4, 4, 2), "fractions")
    assert set(result.data_vars) == {
        "v_fraction_evergreen_forest", "v_fraction_open_water", "v_fraction_snow_ice", "v_coverage",
    }  # fmt: skip
    assert "flag_values" not in result.v_fraction_open_water.attrs
    assert result.v_fraction_open_water.attrs["units"] == "1"
    del ds.v.attrs["flag_values"]
    assert "v_fraction_17" in regrid(ds, grid(0, -2, 4, 4, 2), "fractions")
    assert regrid(ds, grid(0, -2, 4, 4, 2), "mode").v.attrs["cell_methods"] == "area: mode"


def test_opposite_directions_have_no_mean() -> None:
    values = np.tile([[10.0, 190.0]], (10, 5))
    ds = source(values, 5.0 - np.arange(10), np.arange(10.0), units="degree")
    aligned = TargetGrid.from_bounds("t", "EPSG:4326", (-0.5, -3.5, 7.5, 4.5), 2)
    result = regrid(ds, aligned, "circular_mean")
    assert result.v.isnull().all()
    assert (result.v_coverage == 1).all()
    ds = source(np.tile([[350.0, 10.0]], (10, 5)), 5.0 - np.arange(10), np.arange(10.0),
                units="degree")  # fmt: skip
    np.testing.assert_allclose(regrid(ds, aligned, "circular_mean").v % 360, 0, atol=1e-9)


def test_the_window_of_a_target_spans_seams_and_poles() -> None:
    assert source_window(grid(170, 0, 190, 10, 1)) == (170, 0, 190, 10)
    assert source_window(grid(350, 0, 360, 10, 1)) == (-10, 0, 0, 10)
    assert source_window(grid(0, 0, 360, 10, 1), resolution=1) == (-180, -3, 180, 13)
    west, south, east, north = source_window(ALBERS)
    lon, lat = ALBERS.lonlat()
    assert west < lon.min() < lon.max() < east
    assert south < lat.min() < lat.max() < north
    assert east - west < 70
    polar = TargetGrid.from_bounds("p", "EPSG:3413", (-1e6, -1e6, 1e6, 1e6), 100_000)
    assert source_window(polar)[::2] == (-180, 180)
    assert source_window(polar)[3] == 90
    fiji = TargetGrid.from_bounds(
        "f", "EPSG:3460", (1_000_000, 3_000_000, 2_600_000, 4_600_000), 1e5
    )
    west, _, east, _ = source_window(fiji)
    assert west < 180 < east < west + 40
    back = source_window(CONUS, "EPSG:5070", 25_000)
    assert back[0] < -2.9e6
    assert back[2] > 2.9e6


@pytest.mark.parametrize(
    ("change", "method", "message"),
    [
        (lambda ds: ds, "bilinaer", 'Did you mean "bilinear"'),
        (lambda ds: ds.rename(x="lon"), "mean", "dims y and x"),
        (lambda ds: ds.drop_vars("x"), "mean", "coordinates that locate"),
        (lambda ds: ds.isel(x=[0]), "mean", "a single row or column"),
        (lambda ds: ds.isel(x=[0, 2, 1, 3]), "mean", "out of order"),
        (lambda ds: ds.isel(y=[0, 2, 1, 3]), "mean", "sorted axis"),
        (lambda ds: ds.pad(x=(1, 1), mode="wrap"), "mean", "Drop padded"),
        (lambda ds: ds.assign_coords(y=ds.y + 5.2), "mean", "latitudes within"),
        (lambda ds: ds.assign_coords(y=ds.y * 1000), "mean", "no CRS"),
        (lambda ds: ds, "mode", "not whole numbers"),
        (lambda ds: ds.map(lambda v: np.floor(v * 1e6)), "mode", "Is this variable continuous"),
        (lambda ds: ds.assign(v=np.floor(ds.v * 3).assign_attrs(flag_values=[0, 1])), "fractions",
         "codes 2"),
        (lambda ds: ds.assign(v=ds.v.assign_attrs(flag_values=[0, 1], flag_meanings="a")),
         "fractions", "as many meanings"),
        (lambda ds: ds.assign(v=ds.v.assign_attrs(units="K")), "circular_mean", "degrees or rad"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_its_reason(change, method: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        regrid(change(globe(10.0)), CONUS, method)


def test_min_coverage_is_a_fraction() -> None:
    with pytest.raises(InputError, match="min_coverage"):
        regrid(globe(10.0), CONUS, "mean", 50)


def test_loops_compile_without_a_folder_for_their_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.core.compiled as compiled

    calls = []

    def refusing(**options: bool | str) -> object:
        calls.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", refusing)
    assert compiled.compiled(len) is len
    assert [options.get("cache", False) for options in calls] == [True, False]


def test_many_threads_may_regrid_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    ds = with_gaps(globe(3.0))
    targets = [grid(-120, 20, -60, 20 + 2 * n, 2) for n in range(3, 30)] + [ALBERS] * 3
    alone = [regrid(ds, target, "mean", threads=1) for target in targets]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda target: regrid(ds, target, "mean", threads=2), targets))
    for one, other in zip(alone, together, strict=True):
        xr.testing.assert_identical(one, other)
