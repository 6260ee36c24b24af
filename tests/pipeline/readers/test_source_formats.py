"""All kinds of sources yield the same canonical field: formats, many files, calendars, days."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

import pipeline.sources.canonical
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.points import regrid_points
from pipeline.regridding.regrid import regrid
from pipeline.sources.canonical import canonicalise
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source, open_source

VARIABLES = {
    "rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 500)),
    "warmth": Variable(long_name="warmth", units="degC", valid_range=(-90, 60)),
    "sun": Variable(long_name="sun", units="W m-2", valid_range=(0, 600)),
    "kind": Variable(long_name="kind", units="1"),
}
LON, LAT = np.arange(-10.0, 0.0), np.arange(50.0, 44.0, -1.0)


def entry(uri: object, driver: str, canonical: str = "warmth", **settings: object) -> Source:
    variable = settings.pop("variable", {"name": "v"})
    return Source.model_validate(
        {"name": "test", "uri": str(uri), "driver": driver, "variables": {canonical: variable},
         **settings}
    )  # fmt: skip


def canonical(source: Source, window: tuple | None = None) -> xr.Dataset:
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert not faults.faults, faults.faults
    return canonicalise(open_source(source, window), source, VARIABLES)


def series(times: pd.DatetimeIndex | xr.CFTimeIndex, units: str = "K", **attrs: object):
    """Return a field of 280 K that rises by 1 K per step and varies in space."""
    values = 280.0 + np.arange(len(times))[:, None, None] % 20 + LAT[:, None] / 100 + LON / 1000
    dims = ("time", "latitude", "longitude")
    return xr.Dataset({"v": (dims, values, {"units": units, **attrs})},
                      {"time": times, "latitude": LAT, "longitude": LON})  # fmt: skip


def expected(count: int) -> np.ndarray:
    return np.asarray(series(pd.RangeIndex(count))["v"].values - 273.15, np.float32)


DAYS = pd.date_range("1999-12-30", periods=6)


@pytest.mark.parametrize("form", ["NETCDF3_64BIT", "NETCDF4", "zarr2", "zarr3", "packed"])
def test_all_formats_yield_the_same_field(tmp_path: Path, form: str) -> None:
    ds, path = series(DAYS), tmp_path / "a"
    if form.startswith("zarr"):
        ds.to_zarr(path, zarr_format=int(form[-1]), consolidated=False)
    elif form == "packed":
        packing = {"dtype": "int16", "scale_factor": 0.001, "add_offset": 290.0,
                   "_FillValue": -32768}  # fmt: skip
        ds.to_netcdf(path, encoding={"v": packing})
    else:
        ds.to_netcdf(path, format=form)
    da = canonical(entry(path, "zarr" if "zarr" in form else "netcdf"))["warmth"]
    np.testing.assert_allclose(da.values, expected(6), atol=1e-3)
    assert da.dims == ("time", "y", "x")
    np.testing.assert_array_equal(da["time"].values, DAYS.values)


def test_many_files_are_one_series_that_reads_only_what_it_must(tmp_path: Path) -> None:
    ds = series(DAYS)
    for year, part in ds.groupby("time.year"):
        part.to_netcdf(tmp_path / f"v_{year}.nc")
    source = entry(tmp_path / "v_{year}.nc", "netcdf", time={"years": [1999, 2000]})
    assert [path.name for path in source.files] == ["v_1999.nc", "v_2000.nc"]
    ds = open_source(source)
    assert not ds["v"].variable._in_memory
    np.testing.assert_array_equal(ds["v"][::-1, 2, 3:5].values, series(DAYS)["v"][::-1, 2, 3:5])
    np.testing.assert_array_equal(ds["v"][1:5:2].values, series(DAYS)["v"][1:5:2])
    np.testing.assert_allclose(canonical(source)["warmth"].values, expected(6), atol=1e-4)


def test_many_zarr_stores_are_one_series(tmp_path: Path) -> None:
    for year, part in series(DAYS).groupby("time.year"):
        part.to_zarr(tmp_path / f"v_{year}.zarr", consolidated=False)
    source = entry(tmp_path / "v_{year}.zarr", "zarr", time={"years": [1999, 2000]})
    da = canonical(source)["warmth"]
    np.testing.assert_array_equal(da["time"].values, DAYS.values)
    np.testing.assert_allclose(da.values, expected(6), atol=1e-4)
    part.drop_vars("time").to_zarr(tmp_path / "w_2000.zarr", consolidated=False)
    part.assign_coords(latitude=LAT - 0.5).to_zarr(tmp_path / "w_1999.zarr", consolidated=False)
    with pytest.raises(InputError, match=r'w_2000\.zarr: found "latitude" that differs'):
        open_source(source.model_copy(update={"uri": str(tmp_path / "w_{year}.zarr")}))


def daily_files(folder: Path, form: str, days: pd.DatetimeIndex) -> Source:
    """Write one file per day of `series`, without times if the format allows that."""
    for day, (_, one) in zip(days, series(days).groupby("time"), strict=True):
        stem, field = folder / f"v_{day:%Y%m%d}", one.isel(time=0)
        if form == "netcdf of one time":
            one.to_netcdf(f"{stem}.nc")
        elif form == "netcdf with a time beside":
            field.to_netcdf(f"{stem}.nc")
        elif form == "netcdf without times":
            field.drop_vars("time").to_netcdf(f"{stem}.nc")
        elif form == "zarr":
            one.to_zarr(f"{stem}.zarr", consolidated=False)
        else:
            transform = rasterio.transform.from_origin(LON[0] - 0.5, LAT[0] + 0.5, 1, 1)
            with rasterio.open(f"{stem}.tif", "w", "GTiff", LON.size, LAT.size, 1, "EPSG:4326",
                               transform, "float64") as file:  # fmt: skip
                file.write(field["v"].values, 1)
    driver = "raster" if form == "raster" else form.split()[0]
    suffix = {"netcdf": "nc", "zarr": "zarr", "raster": "tif"}[driver]
    variable = {"name": "band_1" if form == "raster" else "v", "units": "K"}
    uri = folder / ("v_{year}{month:02d}{day:02d}." + suffix)
    return entry(uri, driver, variable=variable, time={"years": [2000, 2000], "gaps": "missing"})


FORMS = ["netcdf of one time", "netcdf with a time beside", "netcdf without times", "zarr",
         "raster"]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_files_of_days_are_a_series_and_missing_ones_are_gaps(tmp_path: Path, form: str) -> None:
    days = pd.date_range("2000-02-27", periods=5)
    source = daily_files(tmp_path, form, days)
    assert len(source.files) == 366
    da = canonical(source)["warmth"]
    np.testing.assert_array_equal(da["time"].values, days.values)
    np.testing.assert_allclose(da.values, expected(5), atol=1e-4)
    middle = next(path for path in source.files if "20000229" in path.name)
    middle.rename(tmp_path / "elsewhere")
    da = canonical(source)["warmth"]
    np.testing.assert_array_equal(da["time"].values, days.values)
    assert np.isnan(da.values[2]).all()
    np.testing.assert_allclose(da.values[[0, 1, 3, 4]], expected(5)[[0, 1, 3, 4]], atol=1e-4)


def test_a_series_of_days_is_opened_once_a_process(tmp_path: Path, monkeypatch) -> None:
    source = daily_files(tmp_path, "netcdf of one time", pd.date_range("2000-01-01", periods=9))
    first = open_source(source)
    monkeypatch.setattr("pipeline.readers.netcdf.chosen", lambda *args: 1 / 0)
    xr.testing.assert_identical(open_source(source), first)
    (tmp_path / "v_20000109.nc").unlink()
    with pytest.raises(ZeroDivisionError):
        open_source(source)


def test_a_record_that_begins_in_june(tmp_path: Path) -> None:
    days = pd.date_range("2001-06-01", "2001-12-31")
    for month, part in series(days).groupby("time.month"):
        part.to_netcdf(tmp_path / f"v_2001{month:02d}.nc")
    uri = tmp_path / "v_{year}{month:02d}.nc"
    for time in ({"gaps": "missing"}, {"period": ["2001-06-01", "2001-12-31"]}):
        da = canonical(entry(uri, "netcdf", time={"years": [2001, 2001], **time}))["warmth"]
        np.testing.assert_array_equal(da["time"].values, days.values)
    period = ["2001-03-05", "2001-07-02"]
    source = entry(uri, "netcdf", time={"years": [2001, 2001], "period": period})
    assert [path.name[-5:-3] for path in source.files] == ["03", "04", "05", "06", "07"]
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert [fault.where[-6:] for fault in faults.faults] == ["103.nc", "104.nc", "105.nc"]


def test_grib_files_of_one_message_each(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        write_grib(tmp_path / f"a_2001010{day}.grib", [day])
    uri, time = tmp_path / "a_{year}{month:02d}{day:02d}.grib", {"years": [2001, 2001]}
    source = entry(uri, "grib", variable={"name": "t2m"}, time={**time, "gaps": "missing"})
    da = canonical(source)["warmth"]
    assert [str(t)[:10] for t in da["time"].values] == ["2001-01-01", "2001-01-02", "2001-01-03"]
    np.testing.assert_allclose(da.values[:, 0, 0], 7.85 + np.arange(3), atol=1e-2)


def test_rasters_of_years_and_months_are_a_series(tmp_path: Path) -> None:
    for month in range(1, 13):
        transform = rasterio.transform.from_origin(-10, 50, 1, 1)
        with rasterio.open(tmp_path / f"t{month:02d}.tif", "w", "GTiff", 4, 3, 1, "EPSG:4326",
                           transform, "int16", nodata=-9999) as file:  # fmt: skip
            file.write(np.full((3, 4), month * 10, np.int16), 1)
    variable = {"name": "band_1", "units": "degC", "scale": 0.1}
    source = entry(tmp_path / "t{month:02d}.tif", "raster", variable=variable,
                   time={"kind": "months"})  # fmt: skip
    da = canonical(source, (-9.0, 48.0, -7.0, 49.0))["warmth"]
    np.testing.assert_allclose(da.values.mean((1, 2)), np.arange(1, 13), atol=1e-5)
    assert da["time"].attrs["climatology"] == "months"


def test_a_tiff_declares_its_own_scale(tmp_path: Path) -> None:
    transform = rasterio.transform.from_origin(-10, 50, 1, 1)
    with rasterio.open(tmp_path / "t.tif", "w", "GTiff", 4, 3, 1, "EPSG:4326", transform,
                       "int16", nodata=-9999) as file:  # fmt: skip
        file.write(np.array([[100, -9999, 300, 50]] * 3, np.int16), 1)
        file.scales, file.offsets = (0.1,), (-5.0,)
    source = entry(tmp_path / "t.tif", "raster", variable={"name": "band_1", "units": "degC"})
    np.testing.assert_allclose(canonical(source)["warmth"].values[0], [5, np.nan, 25, 0], atol=1e-5)


def days_reference(
    hours: pd.DatetimeIndex, values: np.ndarray, method: str, begins: float, stamp: str
) -> pd.Series:
    """Return the values of complete days of hourly values, computed day by day."""
    days: dict[pd.Timestamp, list[float]] = {}
    for hour, value in zip(hours, values, strict=True):
        begin = hour - pd.Timedelta(hours=1 if stamp == "end" else 0) - pd.Timedelta(hours=begins)
        days.setdefault(begin.normalize(), []).append(value)
    reduce = {"sum": np.sum, "mean": np.mean, "minimum": np.min, "maximum": np.max}[method]
    return pd.Series({day: reduce(hourly) for day, hourly in days.items() if len(hourly) == 24})


@pytest.mark.parametrize("stamp", ["start", "end"])
@pytest.mark.parametrize("begins", [0, 6, -6, 12, 5.5])
def test_hours_become_days_by_cell_methods_with_a_declared_boundary(
    tmp_path: Path, begins: float, stamp: str
) -> None:
    # Noise, so that every hour counted with another day shows.
    hours = pd.date_range("2004-02-26", periods=24 * 6, freq="h")
    values = np.random.default_rng(1).random(hours.size)
    ds = series(hours)
    field = np.broadcast_to(values[:, None, None], ds["v"].shape)
    ds["v"] = (ds["v"].dims, field, {"units": "mm", "cell_methods": "time: sum"})
    ds.to_netcdf(tmp_path / "a.nc")
    time = {"daily": True, "day_starts": begins, "stamp": stamp}
    for method in ("sum", "mean", "minimum", "maximum"):
        name = "rain" if method == "sum" else "warmth"
        variable = {"name": "v"} if method == "sum" else {"name": "v", "units": "degC",
                                                          "cell_method": method}  # fmt: skip
        source = entry(tmp_path / "a.nc", "netcdf", name, wrong_in_file=["units"],
                       variable=variable, time=time)  # fmt: skip
        found = canonical(source)[name][:, 2, 3]
        reference = days_reference(hours, values, method, begins, stamp)
        np.testing.assert_array_equal(found["time"].values, reference.index.values)
        np.testing.assert_allclose(found.values, reference.values, rtol=1e-6)


def test_sums_of_energy_become_power(tmp_path: Path) -> None:
    hours = pd.date_range("2001-06-01", periods=48, freq="h")
    ds = series(hours)
    ds["v"] = (ds["v"].dims, np.full(ds["v"].shape, 3.6e5), {"units": "J m-2"})
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", "sun", time={"daily": True},
                   variable={"name": "v", "cell_method": "sum"})  # fmt: skip
    np.testing.assert_allclose(canonical(source)["sun"].values, 100.0, rtol=1e-6)


def test_a_day_with_missing_hours_is_missing_unless_few_are(tmp_path: Path) -> None:
    hours = pd.date_range("2001-06-01", periods=24 * 3, freq="h")
    ds = series(hours)
    ds["v"] = (ds["v"].dims, np.ones(ds["v"].shape), {"units": "mm"})
    ds["v"][30] = np.nan
    ds.to_netcdf(tmp_path / "a.nc")
    for share, middle in ((1.0, np.nan), (0.9, 24.0)):
        source = entry(tmp_path / "a.nc", "netcdf", "rain",
                       variable={"name": "v", "cell_method": "sum"},
                       time={"daily": True, "min_share": share})  # fmt: skip
        values = canonical(source)["rain"].values[:, 1, 1]
        np.testing.assert_allclose(values, [24, middle, 24])


def test_blocks_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = pd.date_range("2001-06-01", periods=24 * 5, freq="h")
    series(hours, cell_methods="time: mean").to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", time={"daily": True})
    whole = canonical(source)["warmth"]
    monkeypatch.setattr(pipeline.sources.canonical, "LOAD_BYTES", 0)
    monkeypatch.setattr("pipeline.sources.arrays.aggregate.BLOCK_BYTES", 1)
    lazy = canonicalise(open_source(source), source, VARIABLES)["warmth"]
    assert not lazy.variable._in_memory
    np.testing.assert_array_equal(lazy[1:4, ::2, 3].values, whole[1:4, ::2, 3].values)
    np.testing.assert_array_equal(lazy.values, whole.values)


def test_noleap_dates_convert_and_leap_days_are_missing(tmp_path: Path) -> None:
    times = xr.date_range("2004-02-27", periods=4, calendar="noleap", use_cftime=True)
    series(times).to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", time={"calendar": "convert"})
    da = canonical(source)["warmth"]
    assert [str(t)[:10] for t in da["time"].values] == [
        "2004-02-27", "2004-02-28", "2004-02-29", "2004-03-01", "2004-03-02",
    ]  # fmt: skip
    assert np.isnan(da.values[2]).all()
    np.testing.assert_allclose(da.values[[0, 1, 3, 4]], expected(4), atol=1e-4)


def test_a_360_day_year_keeps_its_seasons(tmp_path: Path) -> None:
    times = xr.date_range("2001-01-01", periods=720, calendar="360_day", use_cftime=True)
    series(times).to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", time={"calendar": "convert"})
    da = canonical(source)["warmth"][:, 0, 0]
    assert da.size == 730
    assert int(da.isnull().sum()) == 10
    assert str(da["time"].values[-1])[:10] == "2002-12-31"
    # The 181st of 360 days is the 183rd or 184th of 365.
    july = da.sel(time=slice("2001-07-02", "2001-07-03")).dropna("time")
    assert july.size > 0
    assert set(np.round(july.values + 273.15 - 280.49).astype(int)) <= {0, 1, 19}


def test_gaps_are_missing_where_the_entry_allows_them(tmp_path: Path) -> None:
    series(pd.date_range("2001-01-01", periods=9)).isel(time=[0, 1, 4, 5, 6, 8]).to_netcdf(
        tmp_path / "a.nc"
    )
    source = entry(tmp_path / "a.nc", "netcdf", time={"gaps": "missing"})
    values = canonical(source)["warmth"].values[:, 0, 0]
    assert np.flatnonzero(np.isnan(values)).tolist() == [2, 3, 7]
    np.testing.assert_allclose(values[4], expected(9)[4, 0, 0], atol=1e-4)


def test_a_curvilinear_source_goes_onto_a_grid(tmp_path: Path) -> None:
    i, j = np.meshgrid(np.arange(40.0), np.arange(30.0))
    lon, lat = (350 + 0.3 * i + 0.05 * j) % 360, 40 + 0.3 * j - 0.05 * i
    attrs = {"units": "degC"}
    ds = xr.Dataset(
        {"v": (("south_north", "west_east"), lat - 30, attrs)},
        {"XLONG": (("south_north", "west_east"), lon, {"units": "degrees_east"}),
         "XLAT": (("south_north", "west_east"), lat, {"units": "degrees_north"})},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", method="bilinear")
    found = canonical(source)
    assert found["lat"].dims == ("y", "x")
    assert float(found["lon"].min()) >= -180
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (-6, 43, -2, 45), 0.5)
    whole = regrid(found, grid, "bilinear")["warmth"]
    np.testing.assert_allclose(whole.values, np.broadcast_to(grid.y[:, None] - 30, grid.shape),
                               atol=1e-4)  # fmt: skip
    part = canonicalise(open_source(source, grid.bounds), source, VARIABLES)
    assert part["warmth"].size < found["warmth"].size
    np.testing.assert_allclose(regrid(part, grid, "bilinear")["warmth"].values, whole.values,
                               atol=1e-6)  # fmt: skip


def wrf(moves: float = 0.0, declared: bool = False) -> xr.Dataset:
    """Return a WRF Dataset of three days with latitudes and longitudes stored for each day."""
    i, j = np.meshgrid(np.arange(12.0), np.arange(10.0))
    shift = moves * np.arange(3.0)[:, None, None]
    lat, lon = 40 + 0.3 * j - 0.02 * i + shift, -100 + 0.3 * i + 0.02 * j + 0 * shift
    dims = ("Time", "south_north", "west_east")
    ds = xr.Dataset(
        {"T2": (dims, 250 + lat, {"units": "K"}),
         "XLAT": (dims, lat, {"units": "degree_north"}),
         "XLONG": (dims, lon, {"units": "degree_east"})},
        {"XTIME": ("Time", DAYS[:3])},
    )  # fmt: skip
    return ds.set_coords(["XLAT", "XLONG"]) if declared else ds


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("time", [{}, {"time": "XTIME"}, {"time": "Time"}])
def test_coordinates_stored_at_every_time_are_those_of_the_first(
    tmp_path: Path, declared: bool, time: dict
) -> None:
    ds = wrf(declared=declared)
    ds.to_netcdf(tmp_path / "a_2001.nc")
    source = entry(tmp_path / "a_2001.nc", "netcdf", variable={"name": "T2"}, lat="XLAT",
                   lon="XLONG", dims=time)  # fmt: skip
    found = canonical(source)
    np.testing.assert_array_equal(found["time"].values, DAYS[:3].values)
    np.testing.assert_array_equal(found["lat"].values, ds["XLAT"].values[0])
    np.testing.assert_allclose(found["warmth"].values, ds["T2"].values - 273.15, atol=1e-4)
    ds.assign_coords(XTIME=("Time", DAYS[3:])).to_netcdf(tmp_path / "a_2002.nc")
    update = {"uri": str(tmp_path / "a_{year}.nc"),
              "time": source.time.model_copy(update={"years": (2001, 2002)})}  # fmt: skip
    both = canonical(source.model_copy(update=update))
    np.testing.assert_array_equal(both["time"].values, DAYS.values)
    assert both["lat"].dims == ("y", "x")


def test_cells_that_move_are_refused(tmp_path: Path) -> None:
    wrf(moves=0.25).to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", variable={"name": "T2"}, lat="XLAT", lon="XLONG")
    faults = Faults()
    check_source(source, faults, VARIABLES)
    (fault,) = faults.faults
    assert "a.nc: XLAT: found cells that move by up to 0.5 degrees" in str(fault)
    assert "to a fixed one" in fault.hint


def test_a_projected_source_keeps_its_crs_and_is_cropped_in_metres(tmp_path: Path) -> None:
    x, y = np.arange(-2e6, -1e6, 5e4), np.arange(1e6, 2e6, 5e4)
    ds = xr.Dataset({"v": (("y", "x"), np.ones((20, 20)), {"units": "degC"})}, {"y": y, "x": x})
    ds.rio.write_crs("EPSG:5070").to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "netcdf", crs="EPSG:5070")
    found = canonical(source, (-1.8e6, 1.2e6, -1.5e6, 1.4e6))
    assert found["warmth"].shape < (20, 20)
    assert "Albers" in found["spatial_ref"].attrs["crs_wkt"]
    assert found["y"].values[0] > found["y"].values[-1]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_of_points_are_locations(tmp_path: Path, form: str) -> None:
    rows = [(s, 40.0 + i, -100.0 + i, str(t)[:10], 290.0 + i + k)
            for i, s in enumerate(("B2", "A1", "C3")) for k, t in enumerate(DAYS)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["site", "lat", "lon", "when", "v"]).drop(index=[4])
    path = tmp_path / f"a.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    source = entry(path, "table", variable={"name": "v", "units": "K"}, cell="site",
                   lat="lat", lon="lon", dims={"time": "when"})  # fmt: skip
    table = read_locations_source(source, VARIABLES)
    assert canonical(source).equals(table)
    assert dict(table.sizes) == {"time": 6, "cell": 3}
    assert table["site"].values.tolist() == ["A1", "B2", "C3"]
    by_site = table["warmth"].values[:, 1] + 273.15
    np.testing.assert_allclose(by_site, [290, 291, 292, 293, np.nan, 295], atol=1e-4)
    assert table["warmth"].dtype == np.float32
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (-101, 39, -97, 43), 1.0)
    assert np.isfinite(regrid_points(table, grid, max_distance_km=90)["warmth"][0]).any()
    window = open_source(source, (-100.6, 39.4, -99.4, 40.6), margin=0.0)
    assert window["site"].values.tolist() == ["B2"]


def write_grib(path: Path, days: list[int], edition: int = 2) -> None:
    """Write GRIB messages of days of January 2001: 280 K, 1 K more per day, 0.1 K per cell."""
    eccodes = pytest.importorskip("eccodes")
    pytest.importorskip("cfgrib")
    with path.open("wb") as file:
        for day in days:
            message = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
            keys = {"Ni": 4, "Nj": 3, "latitudeOfFirstGridPointInDegrees": 50,
                    "latitudeOfLastGridPointInDegrees": 48, "iDirectionIncrementInDegrees": 1,
                    "longitudeOfFirstGridPointInDegrees": 358, "jDirectionIncrementInDegrees": 1,
                    "longitudeOfLastGridPointInDegrees": 1, "dataDate": 20010100 + day,
                    "shortName": "2t"}  # fmt: skip
            for key, value in keys.items():
                eccodes.codes_set(message, key, value)
            eccodes.codes_set_values(message, 280.0 + day + np.arange(12) / 10)
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)


def test_grib_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write_grib(path, [1, 2, 3])
    source = entry(path, "grib", variable={"name": "t2m"})
    da = canonical(source)["warmth"]
    assert da["x"].values.tolist() == [-2, -1, 0, 1]
    assert [str(t)[:10] for t in da["time"].values] == ["2001-01-01", "2001-01-02", "2001-01-03"]
    np.testing.assert_allclose(da.values[2].ravel(), 283.0 - 273.15 + np.arange(12) / 10, atol=1e-2)
    assert [f.name for f in tmp_path.iterdir()] == ["a.grib"]
    path.write_bytes(path.read_bytes()[:-100])
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert "its last message has no end" in str(faults.faults[0])


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("message", [1, 3])
@pytest.mark.parametrize("damage", ["bytes lost", "no beginning", "no end", "another length"])
def test_a_damaged_grib_message_is_refused_not_skipped(
    tmp_path: Path, edition: int, message: int, damage: str
) -> None:
    path = tmp_path / "a.grib"
    write_grib(path, [1, 2, 3, 4, 5], edition)
    whole = path.read_bytes()
    size = len(whole) // 5
    begin = (message - 1) * size
    cut, new = {
        "bytes lost": ((60, 100), b""),
        "no beginning": ((0, 4), b"XXXX"),
        "no end": ((size - 4, size), b"0000"),
        "another length": (
            (4, 7) if edition == 1 else (8, 16),
            b"\xff" * (3 if edition == 1 else 8),
        ),
    }[damage]
    path.write_bytes(whole[: begin + cut[0]] + new + whole[begin + cut[1] :])
    faults = Faults()
    check_source(entry(path, "grib", variable={"name": "t2m"}), faults, VARIABLES)
    (fault,) = faults.faults
    assert str(path) in fault.where
    assert f"message {message}, from byte {begin} on, is damaged" in fault.found
    assert "Download it again" in fault.hint


def test_damaged_values_of_a_grib_message_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write_grib(path, [1, 2, 3])
    content = bytearray(path.read_bytes())
    section = 16
    while content[section + 4] != 5:  # the section that says how values are packed
        section += int.from_bytes(content[section : section + 4], "big")
    content[section + 19] = 255  # bits a value
    path.write_bytes(content)
    faults = Faults()
    check_source(entry(path, "grib", variable={"name": "t2m"}), faults, VARIABLES)
    (fault,) = faults.faults
    assert str(path) in fault.where
    assert "Invalid number of bits per value" in fault.found


def test_grib_with_other_bytes_between_messages_and_an_old_index(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write_grib(path, [1, 2, 3])
    xr.open_dataset(path, engine="cfgrib").close()
    assert list(tmp_path.glob("a.grib*.idx"))
    write_grib(path, [1, 2, 3, 4])
    whole = path.read_bytes()
    size = len(whole) // 4
    path.write_bytes(b"\r\r\n001\r\r\n" + whole[:size] + bytes(8) + whole[size:])
    da = canonical(entry(path, "grib", variable={"name": "t2m"}))["warmth"]
    np.testing.assert_allclose(da.values[:, 0, 0], 7.85 + np.arange(4), atol=1e-2)


def test_grib_without_its_reader_names_the_package_to_install(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.grib").write_bytes(b"GRIB7777")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"stefaland\[grib\]"):
        open_source(entry(tmp_path / "a.grib", "grib"))
