"""Bands of GeoTIFFs: packing, units and masks of each band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.core.errors import Faults
from pipeline.entries.source import Source, Variable
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

VARIABLES = {
    name: Variable(long_name=name, units=units)
    for name, units in {"first": "degC", "second": "degC", "kind": "1"}.items()
}
NAN = np.nan


def tiff(path: Path, bands: list[list[int]], kind: str = "int16", **settings: Any) -> Any:
    """Write a file with two equal rows and return it open, so that a test can set more metadata."""
    transform = rasterio.transform.from_origin(-10, 50, 1, 1)
    file = rasterio.open(path, "w", "GTiff", len(bands[0]), 2, len(bands), "EPSG:4326", transform,
                         kind, **settings)  # fmt: skip
    for number, row in enumerate(bands, start=1):
        file.write(np.array([row, row], kind), number)
    return file


def rows(path: Path, names: dict[str, dict], **settings: Any) -> dict[str, list[float]]:
    """Return the first row of each canonical variable of a source without faults."""
    source = Source.model_validate(
        {"name": "src", "uri": str(path), "driver": "raster", "variables": names, **settings}
    )
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert not faults.faults
    ds = canonicalise(open_source(source), source, VARIABLES)
    return {name: ds[name].values[0].tolist() for name in names}


BOTH = {"first": {"name": "band_1"}, "second": {"name": "band_2"}}


@pytest.mark.filterwarnings("error::UserWarning")
def test_each_band_has_its_own_packing_and_units(tmp_path: Path) -> None:
    with tiff(tmp_path / "a.tif", [[-1, 100], [-1, 200]], nodata=-1) as file:
        file.scales, file.offsets, file.units = (0.5, 0.25), (0.0, 5.0), ("degC", "K")
    found = rows(tmp_path / "a.tif", BOTH)
    np.testing.assert_allclose(found["first"], [NAN, 50])
    np.testing.assert_allclose(found["second"], [NAN, 55 - 273.15], rtol=1e-6)


def test_each_band_has_its_own_nodata(tmp_path: Path) -> None:
    with tiff(tmp_path / "a.tif", [[1, 3, 241]], "uint8"):
        pass
    band = (
        '<VRTRasterBand dataType="Byte" band="{}"><NoDataValue>{}</NoDataValue><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
    )
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="3" rasterYSize="2"><SRS>EPSG:4326</SRS><GeoTransform>'
        f"-10,1,0,50,0,-1</GeoTransform>{band.format(1, 3)}{band.format(2, -9999)}</VRTDataset>"
    )
    names = {name: {**entry, "units": "degC"} for name, entry in BOTH.items()}
    found = rows(tmp_path / "a.vrt", names)
    np.testing.assert_array_equal(found["first"], [1, NAN, 241])
    # -9999 is no byte, and not the 241 that it wraps to.
    np.testing.assert_array_equal(found["second"], [1, 3, 241])


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize("internal", [True, False])
def test_what_a_mask_marks_is_missing(tmp_path: Path, kind: str, internal: bool) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), tiff(
        tmp_path / "a.tif", [[0, 2, 3], [5, 6, 7]], kind
    ) as file:  # fmt: skip
        file.scales = (0.5, 1.0)
        file.write_mask(np.array([[0, 255, 255]] * 2, np.uint8))
    names = {name: {**entry, "units": "degC"} for name, entry in BOTH.items()}
    found = rows(tmp_path / "a.tif", names)
    np.testing.assert_array_equal(found["first"], [NAN, 1, 1.5])
    np.testing.assert_array_equal(found["second"], [NAN, 6, 7])
    trusted = rows(tmp_path / "a.tif", names, wrong_in_file=["nodata"])
    np.testing.assert_array_equal(trusted["first"], [0, 1, 1.5])


def test_classes_under_a_mask_are_missing(tmp_path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), tiff(
        tmp_path / "a.tif", [[0, 1, 2]], "uint8"
    ) as file:  # fmt: skip
        file.write_mask(np.array([[0, 255, 255]] * 2, np.uint8))
    found = rows(tmp_path / "a.tif", {"kind": {"name": "band_1", "units": "1"}},
                 kind="categorical", method="fractions",
                 classes={"a": [0, 1], "b": [2]})  # fmt: skip
    np.testing.assert_array_equal(found["kind"], [NAN, 0, 1])
