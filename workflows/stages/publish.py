"""stefaland publish workflows/configs/quickstart.yml

Map stores → GeoTIFFs, styles, previews, Zarr, STAC and a QGIS project; each reopened and verified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio

from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import fingerprint, provenance
from pipeline.cube.open import open_cube
from pipeline.maps.holes import Holes
from pipeline.maps.texture import FRACTIONS, texture_faults
from pipeline.publish.differences import difference_faults
from pipeline.publish.geopackage import verify_sites
from pipeline.publish.geotiff import write_cog
from pipeline.publish.png import write_preview
from pipeline.publish.qgis import project_element, verify_project
from pipeline.publish.qgis_layers import LayerGroup
from pipeline.publish.qml import write_qml
from pipeline.publish.stac import (
    COLLECTION,
    StacItem,
    collection_documents,
    times_of,
    write_collection,
)
from pipeline.publish.verify import verify_collection, verify_picture, verify_product, verify_style
from pipeline.publish.zarr import write_map_zarr
from pipeline.times.periods import climatology_note
from workflows.config.schema import Place
from workflows.console import REPORT
from workflows.products.completeness import caption, flag_faults, holes_of, warnings
from workflows.products.map_layers import Layer, layers
from workflows.products.project import project_groups, project_path, write_run_project
from workflows.run import Run


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


def verify_texture(of: list[Layer]) -> list[Fault]:
    """Of a product with sand, silt and clay: where they are no whole, or not of their class."""
    paths = {layer.variable: layer.path("tif") for layer in of}
    if not all(name in paths for name in FRACTIONS):
        return []
    return texture_faults(paths)


def verify_published(run: Run) -> int:
    """Reopen everything that was published; gives the number of maps, and prints where land has no
    value.

    `InputError` with all faults: CRS and transform, nodata, values, tags, overviews, class codes,
    styles, pictures, STAC, sites, the QGIS project, holes that are not told.
    """
    from workflows.products.scored_sites import scores_groups, sites_path

    if not (run.maps / COLLECTION).is_file():
        raise bad_input(str(run.maps), "nothing published", "the publish stage to have run")
    metadata = _metadata(run)
    products = {p.suffix: layers(run, p) for p in run.config.publish.products}
    chosen = [layer for of in products.values() for layer in of]
    faults = [fault for layer in chosen for fault in verify_layer(layer, metadata)]
    faults += [fault for of in products.values() for fault in verify_texture(of)]
    faults += _verify_listings(run, products, scores_groups(run))
    if sites_path(run).exists():
        faults += verify_sites(sites_path(run))
    found = holes_of(run, chosen)
    faults += flag_faults(chosen, found)
    faults += _verify_summary(run, products, found)
    for line in warnings(chosen, found):
        REPORT.print(line)
    if faults:
        raise InputError(dict.fromkeys(faults))
    return len(chosen)


def _verify_listings(
    run: Run, of_product: dict[str, list[Layer]], above: Sequence[LayerGroup] = ()
) -> list[Fault]:
    """What of the STAC collection and the QGIS project is not what the maps call for."""
    faults: list[Fault] = []
    documents = None
    try:
        documents = collection_documents(run.maps, _stac(run, of_product), **_about(run))
    except InputError as error:
        faults += error.faults
    faults += verify_collection(run.maps / COLLECTION, documents)
    try:
        project = project_element(
            project_path(run), project_groups(of_product, *above), title=run.config.title
        )
    except InputError as error:
        return [*faults, *error.faults]
    except rasterio.errors.RasterioError as error:
        return [*faults, Fault(project_path(run).name, f"maps that cannot be read ({error})",
                               "a project of readable maps")]  # fmt: skip
    return [*faults, *verify_project(project_path(run), project)]


def _verify_summary(
    run: Run, of_product: dict[str, list[Layer]], found: Mapping[str, Holes]
) -> list[Fault]:
    """What of published.json, which the report shows, is not so: captions, holes."""
    path = run.maps / "published.json"
    try:
        stated = read_json(path)["maps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Fault(str(path), f"unreadable ({error})", "the list of published maps")]
    return difference_faults(path.name, stated, _summary(of_product, found))


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


def _about(run: Run) -> dict[str, Any]:
    """What the STAC collection says of itself."""
    title = run.config.title
    return {"id": run.config.name, "title": title, "description": title}


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
    chosen = [layer for of in of_product.values() for layer in of]
    found = holes_of(run, chosen)
    faults: list[Fault] = []
    for layer in chosen:
        faults += write_layer(layer, metadata, caption(layer, found[layer.name]), outlines)
    for of in of_product.values():
        faults += verify_texture(of)
    write_collection(run.maps, _stac(run, of_product), **_about(run))
    write_run_project(run, of_product)
    faults += _verify_listings(run, of_product)
    faults += flag_faults(chosen, found)
    for line in warnings(chosen, found):
        REPORT.print(line)
    if faults:
        raise InputError(faults)
    places = [check_place(run, place) for place in run.config.places]
    for place in places:
        if not place["passed"]:
            REPORT.print(
                f"WARNING: {place['name']}: the map says {place['found']}, known to be "
                f"{place['minimum']} to {place['maximum']}"
            )
    write_json(run.maps / "published.json", {"maps": _summary(of_product, found), "places": places})
    return {
        "maps": len(chosen),
        "places_failed": [place["name"] for place in places if not place["passed"]],
    }


def _summary(
    of_product: dict[str, list[Layer]], found: Mapping[str, Holes]
) -> list[dict[str, str]]:
    """The maps that the report shows, each with its caption."""
    return [
        {
            "file": layer.path("tif").name,
            "image": layer.path("png").name,
            "caption": caption(layer, found[layer.name]),
        }
        for of in of_product.values()
        for layer in of
    ]
