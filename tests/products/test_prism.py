"""PRISM as published: a ZIP archive of a GeoTIFF (or BIL) for each variable and day or month."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.products.common import cube, dates, faults, same

WEST, NORTH, CELL = -125.0 - 1 / 48, 50.0 - 1 / 48, 1 / 24
BOUNDS = (WEST, NORTH - 2 * CELL, WEST + 3 * CELL, NORTH)
FIELD = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])


def make_prism(folder: Path, name: str, field: np.ndarray, driver: str = "COG") -> None:
    """Write an archive of a raster, -9999 outside of the country, and what lies beside it."""
    suffix, beside = (".tif", [".xml"]) if driver == "COG" else (".bil", [".hdr", ".prj"])
    folder.mkdir(parents=True, exist_ok=True)
    raster = folder / f"{name}{suffix}"
    with rasterio.open(
        raster, "w", driver=driver, width=3, height=2, count=1, dtype="float32", nodata=-9999,
        crs="EPSG:4269", transform=from_origin(WEST, NORTH, CELL, CELL),
    ) as file:  # fmt: skip
        file.write(np.nan_to_num(field, nan=-9999).astype("f4"), 1)
    if driver == "COG":
        raster.with_suffix(".xml").write_text("<metadata/>")
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for path in (raster, *map(raster.with_suffix, beside)):
            archive.write(path, path.name)
            path.unlink()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for day, factor in (("20191231", 1), ("20200101", 10)):
        for name, field in (("ppt", FIELD), ("tmean", -FIELD), ("tmax", FIELD), ("tmin", -FIELD),
                            ("tdmean", -FIELD)):  # fmt: skip
            make_prism(tmp_path / "prism" / "daily", f"prism_{name}_us_25m_{day}", factor * field)
    return tmp_path


def test_days_have_the_dates_of_the_archives(data: Path) -> None:
    names = ["prism", *(f"prism_{name}" for name in ("temperature", "temperature_max",
                                                     "temperature_min", "dew_point"))]  # fmt: skip
    ds = cube("prism", data, BOUNDS, CELL, ("2019-12-31", "2020-01-01"), sources=names)
    assert dates(ds) == ["2019-12-31", "2020-01-01"]
    same(ds["precipitation"], [FIELD, 10 * FIELD])
    same(ds["air_temperature"], [-FIELD, -10 * FIELD])
    same(ds["air_temperature_max"], [FIELD, 10 * FIELD])
    same(ds["air_temperature_min"], [-FIELD, -10 * FIELD])
    same(ds["dew_point_temperature"], [-FIELD, -10 * FIELD])
    assert faults("prism", data) == []


def test_months_are_rates_of_their_own_days(tmp_path: Path) -> None:
    for month, days in (("202002", 29), ("202003", 31)):
        make_prism(tmp_path / "prism" / "monthly", f"prism_ppt_us_25m_{month}", days * FIELD)
        make_prism(tmp_path / "prism" / "monthly", f"prism_tmean_us_25m_{month}", FIELD)
    ds = cube("prism", tmp_path, BOUNDS, CELL, ("2020-02-01", "2020-03-31"),
              sources=["prism_monthly", "prism_monthly_temperature"])  # fmt: skip
    assert dates(ds) == ["2020-02-01", "2020-03-01"]
    same(ds["precipitation"], [FIELD, FIELD])
    same(ds["air_temperature"], [FIELD, FIELD])


def test_archives_of_the_older_server_hold_bil(tmp_path: Path) -> None:
    for day, factor in (("20170101", 1), ("20170102", 3)):
        make_prism(tmp_path / "prism" / "daily", f"PRISM_ppt_stable_4kmD2_{day}_bil",
                   factor * FIELD, "EHdr")  # fmt: skip
    ds = cube("prism", tmp_path, BOUNDS, CELL, ("2017-01-01", "2017-01-02"), sources=["prism_bil"])
    same(ds["precipitation"], [FIELD, 3 * FIELD])
