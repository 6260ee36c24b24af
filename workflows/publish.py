"""stefaland publish workflows/configs/quickstart.yml

Map stores → GeoTIFFs, styles, previews, Zarr, STAC and a QGIS project; each reopened and verified.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio

from pipeline.cf import write_map_zarr
from pipeline.geotiff import names_of_bands, write_cog
from pipeline.layers import LayerGroup, map_group
from pipeline.periods import climatology_note
from pipeline.preview import write_preview
from pipeline.provenance import fingerprint, provenance
from pipeline.qgis import verify_project, write_project
from pipeline.stac import StacItem, times_of, write_collection
from pipeline.store import open_cube
from pipeline.style import write_qml
from pipeline.texture import FRACTIONS, texture_faults
from pipeline.verify import verify_collection, verify_product
from stefaland.errors import Fault, InputError, bad_input
from workflows.config import Place
from workflows.context import CONSOLE, Run, catalog_path
from workflows.map_layers import Layer, layers
from workflows.state import read_json, write_json


def depends(run: Run) -> Any:
    """Products, legends and places."""
    settings = run.config.publish
    of_products = [
        None if (name := settings.legend_of(product)) == settings.legend else name
        for product in settings.products
    ]
    legends = (settings.legend, settings.spread_legend, "quality_flag", "usda_texture",
               *of_products)  # fmt: skip
    return {
        "publish": settings.model_dump(mode="json"),
        "places": [place.model_dump(mode="json") for place in run.config.places],
        "legends": [catalog_path(f"legends/{name}.yml").read_text() for name in legends if name],
        "title": run.config.title,
    }


def outputs(run: Run) -> list[Path]:
    """The maps' folder."""
    return [run.maps]


def _metadata(run: Run) -> dict[str, str]:
    about = provenance(
        run.config.model_dump(mode="json", exclude={"roots", "cluster"}),
        {name: run.catalog[name].model_dump(mode="json") for name in run.config.inputs.sources},
    )
    return {
        "title": run.config.title,
        "stefaland_run": run.config.name,
        "stefaland_settings": fingerprint(about["config"]),
        "stefaland_provenance": json.dumps(about),
    }


def write_layer(layer: Layer, metadata: dict[str, str], outlines: Path | None) -> list[Fault]:
    """Write one map in all its forms; gives what reopening finds wrong."""
    da = layer.da
    write_cog(
        layer.path("tif"), da, layer.grid, kind=layer.legend.kind, legend=layer.legend,
        units=str(da.attrs.get("units", "")), metadata=metadata,
    )  # fmt: skip
    write_qml(layer.path("qml"), layer.legend)
    write_map_zarr(layer.path("zarr"), da, layer.grid, attrs=metadata)
    write_preview(layer.path("png"), da, layer.legend, layer.title, outlines=outlines)
    return verify_layer(layer)


def verify_layer(layer: Layer) -> list[Fault]:
    """What is wrong with a published map, in all its forms, held against its store."""
    da = layer.da
    faults = []
    for ending in ("tif", "zarr"):
        faults += verify_product(
            layer.path(ending), layer.grid, legend=layer.legend, source=da,
            band_names=names_of_bands(da) if ending == "tif" else None,
        )  # fmt: skip
    return faults


def verify_texture(of: list[Layer]) -> list[Fault]:
    """Of a product with sand, silt and clay: where they are no whole, or not of their class."""
    paths = {layer.variable: layer.path("tif") for layer in of}
    if not all(name in paths for name in FRACTIONS):
        return []
    return texture_faults(paths)


def verify_published(run: Run) -> int:
    """Reopen everything that was published; gives the number of maps.

    `InputError` with all faults: CRS and transform, nodata, values, overviews, class codes, styles,
    STAC, the QGIS project.
    """
    if not (run.maps / "collection.json").is_file():
        raise bad_input(str(run.maps), "nothing published", "the publish stage to have run")
    products = {p.suffix: layers(run, p) for p in run.config.publish.products}
    chosen = [layer for of in products.values() for layer in of]
    faults = [fault for layer in chosen for fault in verify_layer(layer)]
    faults += [fault for of in products.values() for fault in verify_texture(of)]
    faults += verify_collection(run.maps / "collection.json")
    faults += verify_project(run.maps / f"{run.config.name}.qgz")
    if faults:
        raise InputError(faults)
    return len(chosen)


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


def check_place(run: Run, place: Place) -> dict[str, Any]:
    """What the published map says of a place, and whether that is between its bounds."""
    path = run.maps / f"{place.variable or run.config.inputs.target}_{place.product}.tif"
    found = value_at(path, place.lon, place.lat)
    passed = bool(place.minimum <= found <= place.maximum)
    return {
        **place.model_dump(mode="json"),
        "found": "no value" if np.isnan(found) else round(found, 4),
        "passed": passed,
    }


def covered_time(run: Run, layer: Layer) -> np.ndarray:
    """First and last second that a map is of: of its dates, else of the series it was made from."""
    cube = layer.product.cube
    for path in (run.mosaic(layer.product.suffix), run.prediction(cube), run.cube(cube)):
        if (found := times_of(open_cube(path))).size:
            return found
    return found


def _description(run: Run, layer: Layer) -> str:
    """The run's title, and what the dates of a climatology mean."""
    da = layer.da
    note = climatology_note(da["time"]) if "time" in da.dims else ""
    return f"{run.config.title} ({note})" if note else run.config.title


def _stac(run: Run, of_product: dict[str, list[Layer]]) -> list[StacItem]:
    items = []
    for suffix, of in of_product.items():
        files = {
            f"{layer.variable}{key}": layer.path(ending)
            for layer in of
            for key, ending in (("", "tif"), ("_style", "qml"), ("_preview", "png"),
                                ("_zarr", "zarr"))
        }  # fmt: skip
        items.append(
            StacItem(
                f"{run.config.inputs.target}_{suffix}", f"{run.config.title}: {suffix}", of[0].grid,
                files, covered_time(run, of[0]), _description(run, of[0]),
            )
        )  # fmt: skip
    return items


def write_run_project(run: Run, of_product: dict[str, list[Layer]], *above: LayerGroup) -> Path:
    """Write the run's QGIS project: every product, below the groups `above`."""
    groups: list[LayerGroup] = []
    for suffix, of in of_product.items():
        maps = [(layer.heading, layer.path("tif"), layer.legend) for layer in of]
        groups.append(map_group(suffix, maps, visible=not groups))
    return write_project(
        run.maps / f"{run.config.name}.qgz", [*above, *groups], title=run.config.title
    )


def main(run: Run) -> dict[str, Any]:
    """Publish every product, verify it, and check the places whose state is known."""
    settings = run.config.publish
    if not settings.products:
        write_json(run.maps / "published.json", {"maps": [], "places": []})
        return {"maps": 0, "places_failed": []}
    outlines = run.catalog[settings.outlines].files[0] if settings.outlines else None
    metadata = _metadata(run)
    of_product = {product.suffix: layers(run, product) for product in settings.products}
    run.maps.mkdir(parents=True, exist_ok=True)
    faults: list[Fault] = []
    for of in of_product.values():
        for layer in of:
            faults += write_layer(layer, metadata, outlines)
        faults += verify_texture(of)
    collection = write_collection(
        run.maps, _stac(run, of_product), id=run.config.name, title=run.config.title,
        description=run.config.title,
    )  # fmt: skip
    faults += verify_collection(collection)
    faults += verify_project(write_run_project(run, of_product))
    if faults:
        raise InputError(faults)
    places = [check_place(run, place) for place in run.config.places]
    for place in places:
        if not place["passed"]:
            CONSOLE.print(
                f"WARNING: {place['name']}: the map says {place['found']}, known to be "
                f"{place['minimum']} to {place['maximum']}"
            )
    _write_summary(run, of_product, places)
    return {
        "maps": sum(len(of) for of in of_product.values()),
        "places_failed": [place["name"] for place in places if not place["passed"]],
    }


def _write_summary(
    run: Run, of_product: dict[str, list[Layer]], places: list[dict[str, Any]]
) -> None:
    """published.json: what the report shows."""
    holes = read_json(run.folder / ".stages" / "mosaic.finished.json")["result"]["holes"]
    maps = []
    for suffix, of in of_product.items():
        missing = holes[suffix]["missing"]
        for layer in of:
            caption = layer.title if layer.is_about_another or not missing else (
                f"{layer.title}; {missing} land cells have no value"
            )  # fmt: skip
            maps.append(
                {
                    "file": layer.path("tif").name,
                    "image": layer.path("png").name,
                    "caption": caption,
                }
            )
    write_json(run.maps / "published.json", {"maps": maps, "places": places})
