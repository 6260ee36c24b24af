"""The files of one published map: writing, verification, and the value at a known location."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio

from pipeline.core.errors import Fault
from pipeline.maps.texture import FRACTIONS, texture_faults
from pipeline.publish.geotiff import write_cog
from pipeline.publish.png import write_preview
from pipeline.publish.qml import write_qml
from pipeline.publish.verify import verify_picture, verify_product, verify_style
from pipeline.publish.zarr import write_map_zarr
from workflows.config.publish import KnownLocation
from workflows.products.map_layers import Layer


def write_layer(
    layer: Layer, metadata: dict[str, str], title: str, outlines: Path | None
) -> list[Fault]:
    """Write one map in all its forms; returns the faults found on reopening them."""
    da = layer.da
    write_cog(
        layer.path("tif"), da, layer.grid, kind=layer.legend.kind, legend=layer.legend,
        units=str(da.attrs.get("units", "")), metadata=metadata,
    )  # fmt: skip
    write_qml(layer.path("qml"), layer.legend)
    write_map_zarr(layer.path("zarr"), da, layer.grid, attrs=metadata)
    write_preview(layer.path("png"), da, layer.legend, title, outlines=outlines)
    return verify_layer(layer, metadata)


def verify_layer(layer: Layer, metadata: dict[str, str]) -> list[Fault]:
    """Faults of a published map in all its forms, compared with its store."""
    # The provenance in a file is not compared: versions and code may have changed since.
    lasting = {key: metadata[key] for key in ("title", "stefaland_run")}
    faults = []
    for ending in ("tif", "zarr"):
        faults += verify_product(
            layer.path(ending), layer.grid, layer.da, layer.legend, metadata=lasting
        )
    return [
        *faults,
        *verify_style(layer.path("qml"), layer.legend),
        *verify_picture(layer.path("png")),
    ]


def verify_texture(layers: Sequence[Layer]) -> list[Fault]:
    """Faults of a texture product: fractions that do not sum to 1, or are not of their class."""
    paths = {layer.variable: layer.path("tif") for layer in layers}
    if not all(name in paths for name in FRACTIONS):
        return []
    return texture_faults(paths)


def value_at(path: Path, lon: float, lat: float) -> float:
    """Mean over the bands of a published map at a location; NaN outside it or without a value."""
    with rasterio.open(path) as raster:
        transformer = pyproj.Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True)
        row, col = raster.index(*transformer.transform(lon, lat))
        if not (0 <= row < raster.height and 0 <= col < raster.width):
            return float("nan")
        window = rasterio.windows.Window(col, row, 1, 1)
        values = raster.read(window=window, masked=True).astype(float).filled(np.nan)
        return float(np.mean(values))


def check_location(folder: Path, location: KnownLocation, target: str) -> dict[str, Any]:
    """The settings of a location, the published value there, and whether it is within bounds."""
    path = folder / f"{location.variable or target}_{location.product}.tif"
    found = value_at(path, location.lon, location.lat)
    passed = bool(location.minimum <= found <= location.maximum)
    return {
        **location.model_dump(mode="json"),
        "found": "no value" if np.isnan(found) else round(found, 4),
        "passed": passed,
    }
