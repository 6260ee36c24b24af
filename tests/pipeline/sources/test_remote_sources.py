"""Sources at remote addresses are read as those on disk, bit for bit, and fail with one error."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401
import xarray as xr

import pipeline
from pipeline.core.errors import Faults, InputError
from pipeline.core.remote_path import _HEADS, _LISTS
from pipeline.core.transfers import fetched_bytes
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers import netcdf, registry
from pipeline.readers.remote import gdal_names
from pipeline.sources.open import check_source, open_source, read_bytes
from pipeline.sources.versions.unchanged import stamps_of, unchanged
from tests.loopback import Loopback, ask_afresh, serving, serving_apart

GRID = TargetGrid.from_bounds("corner", "EPSG:4326", (-3, -2, 3, 2), 1.0)
DAYS = pd.date_range("2001-12-26", periods=6)


def rain(first: int = 0) -> xr.Dataset:
    values = np.random.default_rng(first).gamma(0.4, 9, (6, 8, 12)).astype("float32")
    values[:, 2, 3] = np.nan
    coords = {"time": DAYS + pd.Timedelta(days=6 * first), "lat": np.arange(3.5, -4, -1),
              "lon": np.arange(-5.5, 6)}  # fmt: skip
    ds = xr.Dataset({"rain": (("time", "lat", "lon"), values, {"units": "mm/day"})}, coords)
    for name in ds.coords:
        ds[name].encoding["_FillValue"] = None
    ds.rain.encoding |= {"_FillValue": np.float32(-999)}
    return ds


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask_afresh(monkeypatch, tmp_path / "cache")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "EARTHDATA_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    _LISTS.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    return tmp_path / "served" / "bucket"


@pytest.fixture
def web(folder: Path) -> Iterator[Loopback]:
    with serving(folder.parent) as server:
        yield server


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serving(folder.parent, lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
        yield server


def source(uri: str | list[str], driver: str, name: str = "rain", **settings: Any) -> Source:
    entry = {"name": "gauges", "uri": uri, "driver": driver,
             "variables": {"precipitation": {"name": name, "units": "mm/day"}}}  # fmt: skip
    return Source.model_validate(entry | settings)


def cube(tmp_path: Path, entry: Source) -> xr.Dataset:
    faults = Faults()
    check_source(entry, faults)
    faults.raise_if_any()
    number = len(list(tmp_path.glob("cube*")))
    return pipeline.build_cube(tmp_path / f"cube{number}.zarr", GRID, [entry]).load()


def roots(web: Loopback, store: Loopback) -> list[str]:
    return [web.to("bucket"), f"/vsicurl/{web.to('bucket')}", "s3://bucket", "gs://bucket"]


def to_netcdf(ds: xr.Dataset, folder: Path) -> str:
    ds.to_netcdf(folder / "rain.nc", encoding={"rain": {"chunksizes": (2, 8, 6), "zlib": True}})
    return "rain.nc"


def to_classic(ds: xr.Dataset, folder: Path) -> str:
    ds.to_netcdf(folder / "rain.nc", format="NETCDF3_CLASSIC")
    return "rain.nc"


def to_zarr(ds: xr.Dataset, folder: Path, **settings: Any) -> str:
    encoding = {"rain": {"chunks": (2, 8, 6)}}
    ds.to_zarr(folder / "rain.zarr", encoding=encoding, **settings)
    return "rain.zarr"


def to_tif(ds: xr.Dataset, folder: Path) -> str:
    da = ds.rain.isel(time=0, drop=True).rename(lat="y", lon="x").rio.write_crs("EPSG:4326")
    da.rio.to_raster(folder / "rain.tif")
    return "rain.tif"


FORMS: dict[str, tuple[Callable[..., str], str, str]] = {
    "netcdf": (to_netcdf, "netcdf", "rain"),
    "classic": (to_classic, "netcdf", "rain"),
    "zarr 3": (to_zarr, "zarr", "rain"),
    "zarr 2": (lambda ds, at: to_zarr(ds, at, zarr_format=2), "zarr", "rain"),
    "zarr 3 apart": (lambda ds, at: to_zarr(ds, at, consolidated=False), "zarr", "rain"),
    "zarr 2 apart": (lambda ds, at: to_zarr(ds, at, zarr_format=2, consolidated=False), "zarr",
                     "rain"),
    "raster": (to_tif, "raster", "band_1"),
}  # fmt: skip


def some_slow(*forms: str, fast: tuple[str, ...]) -> list[Any]:
    """The forms as parameters, of which all but the fast ones are for the slow suite."""
    slow = pytest.mark.slow
    return [form if form in fast else pytest.param(form, marks=slow) for form in forms]


@pytest.mark.parametrize("form", some_slow(*FORMS, fast=("netcdf", "zarr 3", "raster")))
def test_the_cube_is_the_same_from_every_address(
    form: str, folder: Path, web: Loopback, store: Loopback, tmp_path: Path
) -> None:
    write, driver, name = FORMS[form]
    file = write(rain(), folder)
    expected = cube(tmp_path, source(str(folder / file), driver, name))
    for root in roots(web, store):
        entry = source(f"{root}/{file}", driver, name)
        assert pickle.loads(pickle.dumps(entry)) == entry
        xr.testing.assert_equal(cube(tmp_path, entry), expected)


def test_large_netcdf_files_are_read_in_parts(
    folder: Path, web: Loopback, store: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netcdf, "SMALL_FILE", 0)
    file = to_netcdf(rain(), folder)
    expected = cube(tmp_path, source(str(folder / file), "netcdf"))
    for root in roots(web, store)[::2]:
        xr.testing.assert_equal(cube(tmp_path, source(f"{root}/{file}", "netcdf")), expected)


@pytest.mark.parametrize("small", [0, 1 << 24])
def test_groups_of_remote_files(
    small: int, folder: Path, web: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netcdf, "SMALL_FILE", small)
    ds = rain().isel(time=0, drop=True)
    with h5py.File(folder / "grid.h5", "w") as file:
        file["Grid/precip"] = ds.rain.values
        file["Grid/precip"].attrs["units"] = "mm/day"
        file["Grid/lat"], file["Grid/lon"] = ds.lat.values, ds.lon.values
        file["Grid/lat"].attrs["units"] = "degrees_north"
        file["Grid/lon"].attrs["units"] = "degrees_east"
    found = [
        cube(tmp_path, source(f"{root}/grid.h5", "netcdf", "Grid/precip"))
        for root in (str(folder), web.to("bucket"))
    ]
    xr.testing.assert_equal(*found)


@pytest.mark.parametrize("scheme", ["", "s3://", "gs://"])
def test_large_rasters_are_read_by_gdal(
    scheme: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gdal_names, "SMALL_FILE", 0)
    file = to_tif(rain(), folder)
    expected = cube(tmp_path, source(str(folder / file), "raster", "band_1"))
    with serving_apart(folder.parent, lists=bool(scheme)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("GOOGLE_BASE_URL", url)
        entry = source(f"{scheme or url + '/'}bucket/{file}", "raster", "band_1")
        xr.testing.assert_equal(cube(tmp_path, entry), expected)
        if scheme == "s3://":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
            xr.testing.assert_equal(cube(tmp_path, entry), expected)


def test_a_part_of_a_large_file_takes_a_part_of_its_bytes(
    folder: Path, web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).random((4, 600, 600)).astype("float32")
    ds = xr.Dataset({"rain": (("time", "lat", "lon"), values, {"units": "mm/day"})},
                    {"lat": np.linspace(29.95, -29.95, 600), "lon": np.linspace(-29.95, 29.95, 600),
                     "time": DAYS[:4]})  # fmt: skip
    ds.to_netcdf(folder / "rain.nc", encoding={"rain": {"chunksizes": (4, 100, 100)}})
    monkeypatch.setattr(netcdf, "SMALL_FILE", 1 << 20)
    entry, before = source(web.to("bucket/rain.nc"), "netcdf"), fetched_bytes()
    found = open_source(entry, (0.0, 0.0, 1.0, 1.0)).rain.values
    size = (folder / "rain.nc").stat().st_size
    assert found.shape[0] == 4
    assert fetched_bytes() - before < 0.3 * size
    local = source(str(folder / "rain.nc"), "netcdf")
    assert read_bytes(entry, (0, 0, 1, 1), (1, 1)) == read_bytes(local, (0, 0, 1, 1), (1, 1))


def test_zarr_reads_the_chunks_of_the_window(folder: Path, web: Loopback) -> None:
    to_zarr(rain(), folder, zarr_format=2)
    open_source(source(web.to("bucket/rain.zarr"), "zarr"), (-5.4, -3.0, -4.0, 3.0)).rain.load()
    chunks = {path for _, path, _ in web.requests if path.endswith(".0")}
    assert chunks == {f"/bucket/rain.zarr/rain/{i}.0.0" for i in range(3)}


def test_the_plan_counts_bytes_of_remote_stores(folder: Path, web: Loopback) -> None:
    to_zarr(rain(), folder)
    whole = read_bytes(source(web.to("bucket/rain.zarr"), "zarr"), (-6, -4, 6, 4), (1, 1))
    half = read_bytes(source(web.to("bucket/rain.zarr"), "zarr"), (-6, -4, -1, 4), (1, 1))
    assert whole == rain().rain.nbytes
    assert half < whole


def test_series_lists_and_globs_are_read_as_on_disk(
    folder: Path, web: Loopback, store: Loopback, tmp_path: Path
) -> None:
    for year in (2001, 2002):
        rain(year - 2001).to_netcdf(folder / f"rain_{year}.nc")
    years = {"time": {"years": [2001, 2002]}}
    expected = cube(tmp_path, source(f"{folder}/rain_{{year}}.nc", "netcdf", **years))
    assert expected.sizes["time"] == 12
    for root in roots(web, store):
        uris = [f"{root}/rain_2001.nc", f"{root}/rain_2002.nc"]
        for entry in (source(f"{root}/rain_{{year}}.nc", "netcdf", **years),
                      source(uris, "netcdf")):  # fmt: skip
            xr.testing.assert_equal(cube(tmp_path, entry), expected)
    for uri in ("s3://bucket/rain_*.nc", "/vsis3/bucket/", "gs://bucket/rain_200[12].nc"):
        entry = source(uri, "netcdf")
        xr.testing.assert_equal(cube(tmp_path, entry), expected)
    with pytest.raises(InputError, match="do not list files"):
        cube(tmp_path, source(web.to("bucket/rain_*.nc"), "netcdf"))


def test_tables_and_stations_at_addresses(folder: Path, web: Loopback, store: Loopback) -> None:
    table = pd.DataFrame({"site": ["a", "b"], "lat": [1.0, 2.0], "lon": [0.0, 1.0], "rain": [3, 4]})
    table.to_csv(folder / "sites.csv", index=False)
    table.to_parquet(folder / "sites.parquet")
    keys = {"lat": "lat", "lon": "lon", "cell": "site"}
    expected = open_source(source(str(folder / "sites.csv"), "table", **keys))
    for root in roots(web, store):
        for file in ("sites.csv", "sites.parquet"):
            found = open_source(source(f"{root}/{file}", "table", **keys))
            xr.testing.assert_identical(found, expected)


def references(folder: Path, url: str, ds: xr.Dataset) -> dict[str, Any]:
    """Kerchunk references to the chunks of a NetCDF-4 file, as kerchunk writes them."""
    refs: dict[str, Any] = {".zgroup": '{"zarr_format": 2}', ".zattrs": "{}"}
    with h5py.File(folder / "rain.nc") as file:
        for name in ("rain", "lat", "lon", "time"):
            data = file[name]
            chunks = data.chunks or data.shape
            filters = (
                [{"id": "shuffle", "elementsize": data.dtype.itemsize}] if data.shuffle else []
            )
            compressor = {"id": "zlib", "level": 4} if data.compression else None
            fill = -999.0 if name == "rain" else None
            array = {"zarr_format": 2, "shape": data.shape, "chunks": chunks, "order": "C",
                     "dtype": data.dtype.str, "fill_value": fill, "compressor": compressor,
                     "filters": filters or None}  # fmt: skip
            attrs = {k: v.decode() if isinstance(v, bytes) else v for k, v in data.attrs.items()
                     if k in ("units", "calendar")}  # fmt: skip
            dims = list(ds[name].dims)
            refs[f"{name}/.zarray"] = json.dumps(array)
            refs[f"{name}/.zattrs"] = json.dumps({**attrs, "_ARRAY_DIMENSIONS": dims})
            if data.chunks:
                for i in range(data.id.get_num_chunks()):
                    info = data.id.get_chunk_info(i)
                    at = ".".join(
                        str(o // c) for o, c in zip(info.chunk_offset, chunks, strict=True)
                    )
                    refs[f"{name}/{at}"] = [url, info.byte_offset, info.size]
            elif name == "lat":
                content = data[:].tobytes()
                refs[f"{name}/0"] = "base64:" + base64.b64encode(content).decode()
            else:
                refs[f"{name}/0"] = [url, data.id.get_offset(), data.id.get_storage_size()]
    return refs


def to_parquet(refs: dict[str, Any], folder: Path, rows: int = 4) -> None:
    """Write references as fsspec's LazyReferenceMapper does, `rows` to a file."""
    metadata = {key: json.loads(text) for key, text in refs.items() if ".z" in key}
    folder.mkdir()
    document = {"metadata": metadata, "record_size": rows}
    (folder / ".zmetadata").write_text(json.dumps(document))
    for name in ("rain", "lat", "lon", "time"):
        array = metadata[f"{name}/.zarray"]
        counts = [-(-n // c) for n, c in zip(array["shape"], array["chunks"], strict=True)]
        records = []
        for index in np.ndindex(*counts):
            value = refs[f"{name}/{'.'.join(map(str, index))}"]
            raw = base64.b64decode(value[7:]) if isinstance(value, str) else None
            path, offset, size = value if raw is None else (None, 0, 0)
            records.append({"path": path, "offset": offset, "size": size, "raw": raw})
        (folder / name).mkdir()
        for i in range(0, len(records), rows):
            table = pd.DataFrame(records[i : i + rows])
            table.to_parquet(folder / name / f"refs.{i // rows}.parq")


@pytest.mark.parametrize(
    "form", some_slow("version 0", "version 1", "parquet", fast=("version 1",))
)
def test_references_are_read_as_the_files_that_they_name(
    form: str, folder: Path, web: Loopback, store: Loopback, tmp_path: Path
) -> None:
    to_netcdf(rain(), folder)
    expected = cube(tmp_path, source(str(folder / "rain.nc"), "netcdf"))
    targets = ["rain.nc", str(folder / "rain.nc"), web.to("bucket/rain.nc"), "s3://bucket/rain.nc"]
    own = {"options": {"trust": True}}  # servers of this machine are named from elsewhere
    for i, target in enumerate(targets):
        name = f"refs{i}.parq" if form == "parquet" else f"refs{i}.json"
        refs = references(folder, target, rain())
        if form == "parquet":
            to_parquet(refs, folder / name)
        elif form == "version 1":
            refs = {k: [v[0].replace("rain", "{{u}}"), *v[1:]] if isinstance(v, list) else v
                    for k, v in refs.items()}  # fmt: skip
            document = {"version": 1, "templates": {"u": "rain"}, "refs": refs}
            (folder / name).write_text(json.dumps(document))
        else:
            (folder / name).write_text(json.dumps(refs))
        more = own if i == 2 else {}
        found = cube(tmp_path, source(str(folder / name), "zarr", **more))
        xr.testing.assert_equal(found, expected)
        if i != 1:
            for root in roots(web, store)[::2]:
                more = own if i == 2 and not root.startswith("http") else {}
                found = cube(tmp_path, source(f"{root}/{name}", "zarr", **more))
                xr.testing.assert_equal(found, expected)


def test_references_to_other_files_on_disk_need_trust(
    folder: Path, web: Loopback, tmp_path: Path
) -> None:
    to_netcdf(rain(), folder)
    (tmp_path / "refs").mkdir()
    for i, target in enumerate(("../served/bucket/rain.nc", str(folder / "rain.nc"),
                                f"file://{folder}/rain.nc")):  # fmt: skip
        path = tmp_path / "refs" / f"refs{i}.json"
        path.write_text(json.dumps(references(folder, target, rain())))
        with pytest.raises(InputError, match="trust: true"):
            cube(tmp_path, source(str(path), "zarr"))
        trusting = source(str(path), "zarr", options={"trust": True})
        assert cube(tmp_path, trusting).sizes["time"] == 6
    (folder / "refs.json").write_text(json.dumps(references(folder, "/etc/hostname", rain())))
    with pytest.raises(InputError, match="trust: true"):
        cube(tmp_path, source(web.to("bucket/refs.json"), "zarr"))


@pytest.mark.parametrize("rows", [None, 2])
def test_references_that_a_table_lacks_are_no_missing_values(
    folder: Path, rows: int | None
) -> None:
    to_netcdf(rain(), folder)
    to_parquet(references(folder, "rain.nc", rain()), folder / "refs.parq")
    table = folder / "refs.parq/rain/refs.0.parq"
    if rows is None:
        table.unlink()
    else:
        pd.read_parquet(table).head(rows).to_parquet(table)
    with pytest.raises(InputError, match=r"refs\.0\.parq: found .*; expected the ref") as e:
        open_source(source(str(folder / "refs.parq"), "zarr"))["rain"].load()
    assert "Copy the folder again" in str(e.value)


def test_references_to_files_that_are_gone_are_no_missing_values(
    folder: Path, tmp_path: Path
) -> None:
    to_netcdf(rain(), folder)
    (folder / "refs.json").write_text(json.dumps(references(folder, "rain.nc", rain())))
    content = (folder / "rain.nc").read_bytes()
    (folder / "rain.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="ends before byte"):
        cube(tmp_path, source(str(folder / "refs.json"), "zarr"))
    (folder / "rain.nc").unlink()
    with pytest.raises(InputError, match="no such file"):
        cube(tmp_path, source(str(folder / "refs.json"), "zarr"))


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1, "refs": {}, "gen": []}', '{"a": 1}'])
def test_other_json_is_refused(folder: Path, text: str) -> None:
    (folder / "refs.json").write_text(text)
    with pytest.raises(InputError, match=r"references|cannot be read"):
        open_source(source(str(folder / "refs.json"), "zarr"))


@pytest.mark.parametrize("faults", [["503", "503"], ["reset"], ["truncated"], ["slow"], ["429"]])
@pytest.mark.parametrize("form", some_slow("netcdf", "zarr 2", "raster", fast=("zarr 2",)))
def test_passing_faults_change_nothing(
    form: str, faults: list[str], folder: Path, web: Loopback, tmp_path: Path
) -> None:
    write, driver, name = FORMS[form]
    file = write(rain(), folder)
    expected = cube(tmp_path, source(str(folder / file), driver, name))
    for path in folder.rglob("*"):
        web.faults[path.relative_to(folder.parent).as_posix()] = list(faults)
    found = cube(tmp_path, source(web.to(f"bucket/{file}"), driver, name))
    xr.testing.assert_equal(found, expected)


@pytest.mark.parametrize("fault, words", [("503", "503"), ("page", "web page"), ("403", "403"),
                                          ("404", "no such file")])  # fmt: skip
@pytest.mark.parametrize("form", some_slow("netcdf", "zarr 2", "raster", fast=("netcdf",)))
def test_lasting_faults_are_one_error_of_the_source(
    form: str, fault: str, words: str, folder: Path, web: Loopback, tmp_path: Path
) -> None:
    write, driver, name = FORMS[form]
    file = write(rain(), folder)
    for path in [*folder.rglob("*"), *(folder / file / n for n in ("zarr.json", ".zmetadata"))]:
        web.faults[path.relative_to(folder.parent).as_posix()] = [fault] * 100
    with pytest.raises(InputError, match=words) as error:
        cube(tmp_path, source(web.to(f"bucket/{file}"), driver, name))
    assert len(error.value.faults) == 1
    assert str(error.value).startswith(f'source "gauges", {web.to("bucket")}')


def test_a_chunk_that_cannot_be_fetched_is_no_missing_value(
    folder: Path, web: Loopback, tmp_path: Path
) -> None:
    to_zarr(rain(), folder, zarr_format=2)
    web.faults["bucket/rain.zarr/rain/1.0.0"] = ["503"] * 100
    with pytest.raises(InputError, match=r"1\.0\.0: found status 503"):
        cube(tmp_path, source(web.to("bucket/rain.zarr"), "zarr"))


def test_unreachable_servers_are_one_error_at_once() -> None:
    faults = Faults()
    entry = source("http://127.0.0.1:9/rain_{year}.nc", "netcdf", time={"years": [1980, 2020]})
    check_source(entry, faults)
    assert [fault.where for fault in faults.faults] == [
        'source "gauges", http://127.0.0.1:9/rain_1980.nc'
    ]


def test_changes_of_remote_files_are_noticed(folder: Path, web: Loopback) -> None:
    to_netcdf(rain(), folder)
    entry = source(web.to("bucket/rain.nc"), "netcdf")
    (first,) = stamps_of(entry)
    assert first[:2] == ("rain.nc", (folder / "rain.nc").stat().st_size)
    with pytest.raises(InputError, match="changed while it was read"), unchanged([entry]):
        rain(1).to_netcdf(folder / "rain.nc")
    assert stamps_of(entry) != [first]


def test_signatures_are_sent_but_never_written(folder: Path, web: Loopback, tmp_path: Path) -> None:
    to_netcdf(rain(), folder)
    entry = source(web.to("bucket/rain.nc") + "?X-Amz-Signature=topsecret", "netcdf")
    cube(tmp_path, entry)
    assert any("topsecret" in path for _, path, _ in web.requests)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"topsecret" in path.read_bytes() for path in written)
    assert "topsecret" not in entry.model_dump_json()


@pytest.mark.parametrize("uri, words", [("https://me:pw@h.org/x.nc", "netrc"),
                                        ("ftp://h.org/x.nc", "known kinds")])  # fmt: skip
def test_addresses_that_cannot_be_used_are_faults_of_the_entry(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        source(uri, "netcdf")


def test_options_of_addresses_are_checked_and_folders_stay_on_disk() -> None:
    faults = Faults()
    registry.check_entry(source("s3://b/x.nc", "netcdf", options={"anonymous": 7}), "entry", faults)
    registry.check_entry(source("s3://b/caravan", "caravan"), "entry", faults)
    assert [fault.where for fault in faults.faults] == ["entry: options: anonymous", "entry: uri"]


def item(folder: Path, name: str, time: str, href: str) -> dict[str, Any]:
    """A STAC item beside the data; `time` is empty for one of a period."""
    times = {"datetime": time} if time else {
        "datetime": None, "start_datetime": "2001-01-01T00:00:00Z",
        "end_datetime": "2001-12-31T00:00:00Z",
    }  # fmt: skip
    box = [-6.0, -4.0, 6.0, 4.0]
    document = {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "properties": times, "links": [],
        "geometry": None, "bbox": box,
        "assets": {"rain": {"href": href}, "cloud": {"href": "x.tif"}},
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(document))
    return document


ASSET = {"options": {"asset": "rain"}}


@pytest.mark.parametrize("form", some_slow("netcdf", "zarr 3", "raster", fast=("netcdf",)))
def test_the_asset_of_a_stac_item_is_read_as_the_file(
    form: str, folder: Path, web: Loopback, store: Loopback, tmp_path: Path
) -> None:
    write, driver, name = FORMS[form]
    file = write(rain(), folder)
    expected = cube(tmp_path, source(str(folder / file), driver, name))
    for href in (f"./{file}", web.to(f"bucket/{file}"), f"s3://bucket/{file}"):
        item(folder, "item", "", href)
        for root in (str(folder), *roots(web, store)):
            _HEADS.known.clear()
            elsewhere = href.startswith("http") and not root.startswith("http")
            options = {**ASSET["options"], **({"trust": True} if elsewhere else {})}
            found = cube(tmp_path, source(f"{root}/item.json", driver, name, options=options))
            xr.testing.assert_equal(found, expected)


@pytest.mark.parametrize(
    "times", [("T00:00:00Z", "2001-12-26"), ("T12:30:00Z", "2001-12-26T12:30")]
)
def test_items_of_a_collection_are_steps_in_time(
    times: tuple[str, str], folder: Path, web: Loopback, tmp_path: Path
) -> None:
    ds, links, items = rain(), [], []
    for i, day in enumerate(DAYS[:3]):
        (folder / f"at{i}").mkdir()
        (folder / to_tif(ds.isel(time=[i]), folder)).rename(folder / f"at{i}" / "rain.tif")
        items.append(item(folder / f"at{i}", "item", f"{day.date()}{times[0]}", "rain.tif"))
        links.insert(0, {"rel": "item", "href": f"./at{i}/item.json"})
    collection = {"type": "Collection", "id": "c", "links": [*links, {"rel": "self", "href": "x"}]}
    (folder / "collection.json").write_text(json.dumps(collection))
    for root in (str(folder), web.to("bucket")):
        entry = source(f"{root}/collection.json", "raster", "band_1", **ASSET)
        found = open_source(entry)
        assert str(found.time.values[0]) == str(np.datetime64(times[1], "ns"))
        np.testing.assert_array_equal(found.band_1.values, ds.rain.fillna(-999).values[:3])
    both = [str(folder / f"at{i}" / "item.json") for i in (2, 1)]
    listed = open_source(source(both, "raster", "band_1", **ASSET))
    np.testing.assert_array_equal(listed.band_1.values, ds.rain.fillna(-999).values[1:3])
    period = {"time": {"period": ["2001-12-27", "2001-12-27"]}}
    one = source(str(folder / "collection.json"), "raster", "band_1", **ASSET, **period)
    assert [path.parent.name for path in one.files] == ["at1"]


def test_items_of_one_time_are_tiles(folder: Path, web: Loopback, tmp_path: Path) -> None:
    whole = to_tif(rain(), folder)
    expected = cube(tmp_path, source(str(folder / whole), "raster", "band_1"))
    features = []
    for name, part in (("west", slice(None, 6)), ("east", slice(6, None))):
        tile = to_tif(rain().isel(lon=part), folder)
        (folder / tile).rename(folder / f"{name}.tif")
        features.append(item(folder, name, "2001-12-26T00:00:00Z", f"{name}.tif"))
    listed = {"type": "FeatureCollection", "features": features}
    (folder / "items.json").write_text(json.dumps(listed))
    found = cube(tmp_path, source(web.to("bucket/items.json"), "raster", "band_1", **ASSET))
    xr.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("text, words", [
    ("{", "no such document"), ('{"type": "Topology"}', 'type "Topology"'),
    ('{"type": "Feature"}', "no valid item"), (None, 'expected an asset "rain"'),
])  # fmt: skip
def test_other_documents_are_one_error(
    text: str | None, words: str, folder: Path, web: Loopback, tmp_path: Path
) -> None:
    document = item(folder, "item", "", "/etc/hostname")
    document["assets"]["rains"] = document["assets"].pop("rain")
    (folder / "item.json").write_text(json.dumps(document) if text is None else text)
    with pytest.raises(InputError, match=words) as error:
        cube(tmp_path, source(web.to("bucket/item.json"), "raster", "band_1", **ASSET))
    assert len(error.value.faults) == 1


def test_remote_items_name_no_files_on_this_disk(
    folder: Path, web: Loopback, tmp_path: Path
) -> None:
    item(folder, "item", "", "/etc/hostname")
    with pytest.raises(InputError, match="a path on disk"):
        cube(tmp_path, source(web.to("bucket/item.json"), "raster", "band_1", **ASSET))
    with pytest.raises(InputError, match="no such file"):
        cube(tmp_path, source(web.to("bucket/none.json"), "raster", "band_1", **ASSET))


def test_versions_of_icechunk_repositories(
    folder: Path, store: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    icechunk = pytest.importorskip("icechunk")
    at = icechunk.local_filesystem_storage(str(folder / "rain.icechunk"))
    repository, expected = icechunk.Repository.create(at), []
    for number in (0, 1):
        session = repository.writable_session("main")
        rain(number).to_zarr(session.store, consolidated=False, mode="w")
        snapshot = session.commit("version")
        if not number:
            repository.create_tag("first", snapshot)
        rain(number).to_netcdf(folder / f"{number}.nc")
        expected.append(cube(tmp_path, source(str(folder / f"{number}.nc"), "netcdf")))
    for root in (str(folder), "s3://bucket"):
        uri = f"{root}/rain.icechunk"
        xr.testing.assert_equal(cube(tmp_path, source(uri, "zarr")), expected[1])
        tagged = source(uri, "zarr", options={"tag": "first"})
        xr.testing.assert_equal(cube(tmp_path, tagged), expected[0])
        with pytest.raises(InputError, match="cannot be opened"):
            cube(tmp_path, source(uri, "zarr", options={"branch": "none"}))
    assert read_bytes(source("s3://bucket/rain.icechunk", "zarr"), (-6, -4, 6, 4), (1, 1)) > 0
    capfd.readouterr()


def test_versions_are_those_of_icechunk_repositories_alone(folder: Path) -> None:
    path = to_zarr(rain(), folder)
    with pytest.raises(InputError, match="`tag` of a store without versions"):
        open_source(source(str(folder / path), "zarr", options={"tag": "v1"}))
