"""stefaland publish workflows/configs/quickstart.yml

Map stores as GeoTIFFs, styles, previews, Zarr, STAC and a QGIS project.

Every file is reopened and verified.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.files import make_folder, write_json
from pipeline.core.provenance import fingerprint, provenance
from pipeline.maps.holes import Holes
from pipeline.maps.texture import CLASS
from pipeline.publish.geopackage import verify_sites
from pipeline.publish.stac import COLLECTION
from workflows.console import REPORT
from workflows.products.collection import MapCollection
from workflows.products.completeness import (
    caption,
    caption_faults,
    captions,
    flag_faults,
    holes_of,
    warnings,
)
from workflows.products.map_files import check_location, verify_layer, verify_texture, write_layer
from workflows.products.map_layers import Layer
from workflows.products.project import project_faults, write_run_project
from workflows.products.seams import seam_faults
from workflows.run import Run
from workflows.stages.unpack import product_layers, score_groups


def outputs(run: Run) -> list[Path]:
    """The files of every product, the collection, the list of maps and the QGIS project."""
    targets = run.config.inputs.targets
    names = [
        f"{name}_{product.suffix}*.{ending}"
        for product in run.config.publish.products
        for name in dict.fromkeys((*targets, run.config.inputs.target, CLASS))
        for ending in ("tif", "qml", "zarr", "png", "json")
    ]
    return [*(run.maps / name for name in names), run.maps / COLLECTION, run.published, run.project]


def _metadata(run: Run) -> dict[str, str]:
    written = run.config.written()
    record = provenance(
        {name: value for name, value in written.items() if name not in ("roots", "cluster")},
        {name: run.catalog[name].model_dump(mode="json") for name in run.config.inputs.sources},
    )
    made_by = {layer.product_store.made_by for layers in product_layers(run).values()
               for layer in layers} - {""}  # fmt: skip
    return {
        **({"stefaland_model": " ".join(sorted(made_by))} if made_by else {}),
        "title": run.config.title.strip(),  # GDAL drops spaces at the start of a tag
        "stefaland_run": run.config.name,
        "stefaland_settings": fingerprint(record["config"]),
        "stefaland_provenance": json.dumps(record),
    }


def _collection(run: Run) -> MapCollection:
    """The STAC collection of the run's maps."""
    config = run.config
    cubes = {product.cube for product in config.publish.products}
    made_from = {cube: (run.prediction(cube), run.cube(cube)) for cube in cubes}
    return MapCollection(run.maps, config.name, config.title, config.inputs.target, made_from)


def _holes(run: Run, chosen: Sequence[Layer]) -> dict[str, Holes]:
    """Land cells without a value in each map, by its name."""
    cubes = {layer.product.cube: run.cube(layer.product.cube) for layer in chosen}
    return holes_of(chosen, cubes, run.config.inputs)


def verify_published(run: Run) -> int:
    """Reopen everything that was published; returns the number of maps.

    Prints a warning for each map with land cells without a value. Raises `InputError` with all
    faults: CRS and transform, nodata, values, tags, overviews, class codes, styles, pictures, STAC,
    sites, the QGIS project, cells without a value that the caption does not count, and series that
    jump at the boundaries of prediction windows.
    """
    if not (run.maps / COLLECTION).is_file():
        hint = "Run `stefaland run CONFIG --until publish`."
        raise bad_input(str(run.maps), "nothing published", "published maps", hint)
    metadata = _metadata(run)
    layers_by_product = product_layers(run)
    chosen = [layer for layers in layers_by_product.values() for layer in layers]
    faults = [fault for layer in chosen for fault in verify_layer(layer, metadata)]
    faults += [fault for layers in layers_by_product.values() for fault in verify_texture(layers)]
    faults += _collection(run).faults(layers_by_product)
    faults += project_faults(run.project, run.config.title, layers_by_product, score_groups(run))
    if run.scored_sites.exists():
        faults += verify_sites(run.scored_sites)
    found = _holes(run, chosen)
    faults += flag_faults(chosen, found)
    faults += caption_faults(run.published, layers_by_product, found)
    faults += seam_faults(chosen)
    for line in warnings(chosen, found):
        REPORT.print(line)
    if faults:
        raise InputError(dict.fromkeys(faults))
    return len(chosen)


def main(run: Run) -> dict[str, Any]:
    """Publish and verify every product, and check the locations with known values.

    Returns the number of maps and the names of locations outside their bounds.
    """
    layers_by_product = product_layers(run)
    if not layers_by_product:
        write_json(run.published, {"maps": [], "places": []})
        return {"maps": 0, "places_failed": []}
    metadata, outlines, title = _metadata(run), run.outlines, run.config.title
    make_folder(run.maps)
    chosen = [layer for layers in layers_by_product.values() for layer in layers]
    found = _holes(run, chosen)
    faults: list[Fault] = []
    for layer in chosen:
        faults += write_layer(layer, metadata, caption(layer, found[layer.name]), outlines)
    for layers in layers_by_product.values():
        faults += verify_texture(layers)
    collection = _collection(run)
    collection.write(layers_by_product)
    faults += collection.faults(layers_by_product)
    write_run_project(run.project, title, layers_by_product)
    faults += project_faults(run.project, title, layers_by_product)
    faults += flag_faults(chosen, found)
    for line in warnings(chosen, found):
        REPORT.print(line)
    for fault in seam_faults(chosen):
        REPORT.print(f"WARNING: {fault.where}: {fault.found}")
    if faults:
        raise InputError(faults)
    target = run.config.inputs.target
    locations = [check_location(run.maps, item, target) for item in run.config.places]
    for location in locations:
        if not location["passed"]:
            REPORT.print(
                f"WARNING: {location['name']}: the map has {location['found']}, expected "
                f"{location['minimum']} to {location['maximum']}"
            )
    write_json(run.published, {"maps": captions(layers_by_product, found), "places": locations})
    return {
        "maps": len(chosen),
        "places_failed": [location["name"] for location in locations if not location["passed"]],
    }
