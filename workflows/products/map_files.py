"""The files of one published map: written in all forms, verified, and read at a known place."""

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
from workflows.config.publish import Place
from workflows.products.map_layers import Layer


def write_layer(
    layer: Layer, metadata: dict[str, str], title: str, outlines: Path | None
) -> list[Fault]:
    """Write one map in all its forms; gives what reopening finds wrong."""
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
    """What is wrong with a published map, in all its forms, held against its store."""
    # Of provenance a file tells its own: versions and code may have changed since.
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


def verify_texture(of: Sequence[Layer]) -> list[Fault]:
    """Of a product with sand, silt and clay: where they are no whole, or not of their class."""
    paths = {layer.variable: layer.path("tif") for layer in of}
    if not all(name in paths for name in FRACTIONS):
        return []
    return texture_faults(paths)


def value_at(path: Path, lon: float, lat: float) -> float:
    """Mean over the bands of a published map at a place; NaN outside or where it has no value."""
    with rasterio.open(path) as raster:
        turn = pyproj.Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True)
        row, col = raster.index(*turn.transform(lon, lat))
        if not (0 <= row < raster.height and 0 <= col < raster.width):
            return float("nan")
        window = rasterio.windows.Window(col, row, 1, 1)
        values = raster.read(window=window, masked=True).astype(float).filled(np.nan)
        return float(np.mean(values))


def check_place(folder: Path, place: Place, target: str) -> dict[str, Any]:
    """What the published map in `folder` has at a place, and whether that is within its bounds."""
    path = folder / f"{place.variable or target}_{place.product}.tif"
    found = value_at(path, place.lon, place.lat)
    passed = bool(place.minimum <= found <= place.maximum)
    return {
        **place.model_dump(mode="json"),
        "found": "no value" if np.isnan(found) else round(found, 4),
        "passed": passed,
    }
