"""Verification of published files: reopened and compared with their expected contents.

Used by `stefaland publish --verify`. Faults are returned, not raised, so that those of all files
are reported together. Contents follow from the map, its legend, its grid and the settings: the code
that writes them generates tags, colours, statistics and overviews again for comparison.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import xarray as xr
from pystac.errors import STACValidationError
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from pipeline.core.errors import Fault, Faults, InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import NODATA_CODE, Legend
from pipeline.publish.bands import names_of_bands
from pipeline.publish.differences import difference_faults, restricted, xml_content
from pipeline.publish.faults import cog_faults
from pipeline.publish.geotiff import gdal_environment, uncompressed
from pipeline.publish.qml import read_xml, style_element
from pipeline.publish.stac import read_document, validate_collection
from pipeline.publish.verify_zarr import zarr_faults

DAMAGED = (
    rasterio.errors.RasterioError, OSError, ValueError, KeyError, IndexError, TypeError,
    AttributeError, RuntimeError, EOFError, zlib.error,
)  # fmt: skip
"""Errors of the libraries that read damaged files; Blosc's are of `RuntimeError`."""
_STRIP_BYTES = 32 * 2**20
_ROUNDING = 1e-6  # relative, of overviews: another GDAL version may sum in another order
_WRITER_TAGS = ("TIFFTAG_SOFTWARE",)


def verify_product(
    path: str | Path,
    grid: TargetGrid,
    source: xr.DataArray,
    legend: Legend,
    metadata: Mapping[str, Any] | None = None,
) -> list[Fault]:
    """Faults of a published `.tif` or `.zarr` of a map, dims (band, y, x) or (y, x).

    Compares CRS and transform (to 1e-9 of a cell), nodata, all values, band names, units, dates,
    scales, statistics, colours and every overview with those of `source`, and of the file's tags
    those in `metadata`. Memory is bounded by a strip; a `.tif` takes its uncompressed size in the
    system's temporary folder.
    """
    path = Path(path)
    if not path.exists():
        return [Fault(str(path), "no such file", "a published map")]
    try:
        if path.suffix == ".zarr":
            return zarr_faults(path, source, grid, metadata or {})
        return _tif_faults(path, grid, source, legend, metadata or {})
    except DAMAGED as error:
        return [Fault(str(path), f"unreadable ({one_line(error)})", "a readable map")]


def one_line(error: BaseException) -> str:
    """The text of an error on one line, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def verify_style(path: str | Path, legend: Legend) -> list[Fault]:
    """Differences of a `.qml` from the legend: kind, range, values, colours, opacity, labels."""
    try:
        found = read_xml(path, "a QGIS style")
    except InputError as error:
        return list(error.faults)
    return difference_faults(
        Path(path).name, xml_content(found), xml_content(style_element(legend))
    )


def verify_collection(
    path: str | Path, expected: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Fault]:
    """Faults of a STAC collection on disk: its validity, and differences from `expected`.

    `expected` holds JSON documents by file name, as `collection_documents` returns them.
    """
    path = Path(path)
    faults: list[Fault] = []
    try:
        validate_collection(path)
    except (pystac.STACError, STACValidationError, *DAMAGED) as error:
        invalid = f"not valid ({one_line(error)})"
        faults.append(Fault(str(path), invalid, "a valid STAC collection"))
    for name, document in (expected or {}).items():
        try:
            found = read_document(path.parent / name)
        except (OSError, ValueError, RecursionError) as error:
            faults.append(Fault(name, one_line(error), "a STAC file"))
        else:
            faults += difference_faults(name, found, json.loads(json.dumps(document)))
    return faults


def verify_picture(path: str | Path) -> list[Fault]:
    """Fault of a `.png` that cannot be decoded completely."""
    from matplotlib.image import imread

    try:
        imread(path)
    except (*DAMAGED, SyntaxError, struct.error) as error:
        return [Fault(str(path), f"unreadable ({one_line(error)})", "a picture")]
    return []


def _tif_faults(
    path: Path, grid: TargetGrid, source: xr.DataArray, legend: Legend, metadata: Mapping[str, Any]
) -> list[Fault]:
    faults = Faults()
    _, errors, warnings = cog_validate(path, strict=True, quiet=True)
    for message in (*errors, *warnings):
        faults.add(f"{path.name}: layout", message, "a strict Cloud Optimized GeoTIFF")
    names, workers = names_of_bands(source), len(os.sched_getaffinity(0))
    nodata, dtype = (np.nan, "float32") if legend.kind == "continuous" else (NODATA_CODE, "uint8")
    faults.faults += cog_faults(path, grid, names, nodata, dtype)
    with rasterio.open(path) as raster:
        if raster.shape != tuple(grid.shape) or raster.count != len(names):
            return faults.faults
    with tempfile.TemporaryDirectory() as folder, gdal_environment(workers):
        scratch = Path(folder) / path.name
        with uncompressed(
            scratch, source, grid, kind=legend.kind, names=names, units=None, nodata=nodata,
            legend=legend, metadata=metadata, workers=workers, where=path.name,
        ):  # fmt: skip
            pass
        with rasterio.open(path) as found, rasterio.open(scratch) as expected:
            faults.faults += _description_faults(path.name, found, expected)
            faults.faults += _code_faults(path.name, expected, legend)
            if differing := _differing(found, expected):
                faults.add(f"{path.name}: values", f"{differing} other values",
                           "the values of its source")  # fmt: skip
            levels = [found.overviews(band) for band in found.indexes]
            if levels != [expected.overviews(1)] * found.count:
                faults.add(f"{path.name}: overviews", f"factors {levels[0]}",
                           f"factors {expected.overviews(1)} of every band")  # fmt: skip
                return faults.faults
        for level, factor in enumerate(levels[0]):
            with (
                rasterio.open(path, overview_level=level) as found,
                rasterio.open(scratch, overview_level=level) as expected,
            ):
                if differing := _differing(found, expected, _ROUNDING):
                    how = "mean" if dtype == "float32" else "most frequent code"
                    faults.add(f"{path.name}: overview {level + 1}", f"{differing} other values",
                               f"the {how} of {factor} x {factor} cells")  # fmt: skip
    return faults.faults


def _description_faults(where: str, found: Any, expected: Any) -> list[Fault]:
    """Differences of a raster's tags, units, scales, statistics and colours from those expected."""
    wanted, has = _described(expected), _described(found)
    has["tags"] = restricted(has["tags"], wanted["tags"])
    for one, other in zip(has["bands"], wanted["bands"], strict=True):
        one["tags"] = restricted(one["tags"], other["tags"])
    return difference_faults(where, has, wanted)


def _described(raster: Any) -> dict[str, Any]:
    tags = {key: text for key, text in raster.tags().items() if key not in _WRITER_TAGS}
    bands = [
        {
            "unit": raster.units[number - 1],
            "scale": raster.scales[number - 1],
            "offset": raster.offsets[number - 1],
            "tags": raster.tags(number),
        }
        for number in raster.indexes
    ]
    return {"tags": tags, "bands": bands, "colours": _colours(raster)}


def _colours(raster: Any) -> dict[int, str]:
    """Red, green, blue and opacity of each code; empty without a colour table."""
    try:
        table = raster.colormap(1) if raster.count == 1 else {}
        return {code: str(colour) for code, colour in table.items()}
    except ValueError:
        return {}


def _strips(raster: Any) -> Iterator[Window]:
    """Windows of whole rows of blocks with a bounded number of bytes."""
    block = raster.block_shapes[0][0]
    bytes_row = raster.width * raster.count * np.dtype(raster.dtypes[0]).itemsize
    height = max(block, _STRIP_BYTES // (bytes_row * block) * block)
    for top in range(0, raster.height, height):
        yield Window(0, top, raster.width, min(height, raster.height - top))


def _differing(found: Any, expected: Any, tolerance: float = 0.0) -> int:
    """Number of values of two rasters of one shape that differ beyond a relative tolerance."""
    count = 0
    for window in _strips(expected):
        one, other = found.read(window=window), expected.read(window=window)
        same = one == other
        if one.dtype.kind == "f":
            same |= np.isnan(one) & np.isnan(other)
            if tolerance and not same.all():
                same |= np.isclose(one, other, rtol=tolerance, atol=0)
        count += int((~same).sum())
    return count


def _code_faults(where: str, raster: Any, legend: Legend) -> list[Fault]:
    """Fault of the codes that the legend does not have."""
    if legend.kind == "continuous":
        return []
    codes = {
        int(code) for window in _strips(raster) for code in np.unique(raster.read(window=window))
    }
    known = {int(stop.value) for stop in legend.stops}
    unknown = sorted(codes - known - {NODATA_CODE})
    if not unknown:
        return []
    return [Fault(f"{where}: codes", str(unknown), f"codes {sorted(known)}")]
