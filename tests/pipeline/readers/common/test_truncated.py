"""Truncated files are refused in the check, each with a message about its fault."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import rasterio

from pipeline.readers.common.truncated import missing_bytes
from tests.pipeline.sources.test_bad_sources import entry, faults_of, field

CLASSIC = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]
TABLE = {"lat": "lat", "lon": "lon", "variables": {"warmth": {"name": "v", "units": "K"}}}


def netcdf(path: Path, form: str, unlimited: bool = False) -> None:
    """Return a field stored after its coordinates, as in most files."""
    with netCDF4.Dataset(path, "w", format=form) as file:
        shape = {"time": 40, "lat": 6, "lon": 8}
        for name, size in shape.items():
            file.createDimension(name, None if unlimited and name == "time" else size)
        for name, first in (("time", 0), ("lat", 40), ("lon", -8)):
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = first + np.arange(shape[name])
        file["time"].units = "days since 2001-01-01"
        values = file.createVariable("v", "f4", tuple(shape))
        values.units = "K"
        values[:] = np.full(tuple(shape.values()), 290.0)


@pytest.mark.parametrize("unlimited", [False, True])
@pytest.mark.parametrize("form", CLASSIC)
def test_classic_netcdf_that_would_be_read_as_zeros(
    tmp_path: Path, form: str, unlimited: bool
) -> None:
    path = tmp_path / "a.nc"
    netcdf(path, form, unlimited)
    whole = path.read_bytes()
    assert missing_bytes(path) is None
    assert not faults_of(entry(path))
    for lost in (4, 300, len(whole) * 2 // 5, len(whole) - 40):
        path.write_bytes(whole[:-lost])
        found = faults_of(entry(path))
        assert f"{path}: found the first {len(whole) - lost:,} bytes of a truncated file" in found
        assert "bytes or more that its header declares. Download it again." in found
    path.write_bytes(whole[:-4])
    assert missing_bytes(path) == (len(whole) - 4, len(whole))


@pytest.mark.parametrize("form", CLASSIC)
@pytest.mark.parametrize("kinds", [["i1"], ["i2", "i1"], ["f4", "i1", "f8"]])
@pytest.mark.parametrize("records", [0, 1, 3])
def test_the_length_that_a_classic_header_declares(
    tmp_path: Path, form: str, kinds: list[str], records: int
) -> None:
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.setncatts({"title": "odd", "counts": np.arange(3, dtype="i2")})
        file.createDimension("time", None)
        file.createDimension("x", 5)
        file.createVariable("x", "f4", ("x",))[:] = 1
        file.createVariable("mapping", "i4", ())[:] = 1
        for number, kind in enumerate(kinds):
            values = file.createVariable(f"v{number}", kind, ("time", "x"))
            values.units = "m"
            if records:
                values[:records] = 1
    assert missing_bytes(path) is None
    size = path.stat().st_size
    # The last value may be followed by up to three bytes of padding.
    path.write_bytes(path.read_bytes()[:-4])
    assert missing_bytes(path) is not None
    there, promised = missing_bytes(path) or (0, 0)
    assert there == size - 4
    assert size - 3 <= promised <= size


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("NETCDF4", "found a file that cannot be read"),
        ("tif", "found bytes that cannot be read"),
        ("csv", "lon: found nan in row 1"),
        ("parquet", "found a file that cannot be read"),
        ("npz", "expected a NumPy archive"),
    ],
)
def test_other_forms(tmp_path: Path, form: str, message: str) -> None:
    path = tmp_path / f"a.{form}"
    driver, settings = "netcdf", {}
    if form == "tif":
        transform = rasterio.transform.from_origin(-10, 20, 0.1, 0.1)
        with rasterio.open(path, "w", "GTiff", 200, 200, 1, "EPSG:4326", transform,
                           "float32") as file:  # fmt: skip
            file.write(np.random.default_rng(1).random((200, 200), np.float32), 1)
        driver, settings = "raster", {"variables": {"warmth": {"name": "band_1", "units": "degC"}}}
    elif form in ("csv", "parquet"):
        frame = pd.DataFrame({"lat": [1.0, 2.0], "lon": [3.0, 4.0], "v": [5.0, 6.0]})
        frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
        driver, settings = "table", TABLE
    elif form == "npz":
        np.savez(path, v=np.zeros((12, 6, 8)), lat=np.arange(6.0), lon=np.arange(8.0))
        driver, settings = "npz", TABLE
    else:
        field().to_netcdf(path, format=form)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3 if form == "csv" else len(whole) * 2 // 3])
    found = faults_of(entry(path, driver, **settings))
    assert str(path) in found
    assert message in found.replace(str(path), "")


@pytest.mark.parametrize(
    "content",
    [
        b"GRIB\0\0\0\2" + bytes(60),
        b"GRIB\0\0\0\1" + bytes(60),
        b"II*\0\x08\0\0\0\1\0\x11\1\4\0\xff\xff\xff\x3f\x08\0\0\0" + bytes(60),
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 6 + bytes(60),
    ],
    ids=["grib2", "grib1", "tiff", "bigtiff"],
)
@pytest.mark.timeout(60)
def test_lengths_of_zero_and_of_terabytes_are_counted_at_once(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a").write_bytes(content)
    assert missing_bytes(tmp_path / "a", thorough=True) == (len(content), len(content) + 1)
