"""Land cells without a value in the published maps: counts, captions, warnings and faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.core.errors import Fault, InputError
from pipeline.core.files import read_json
from pipeline.cube.open import cube_tiles, open_cube
from pipeline.maps.holes import Holes, holes, land_on
from pipeline.maps.mosaic import FLAG
from pipeline.publish.differences import difference_faults
from workflows.config.schema import Inputs
from workflows.inputs.cells import land_mask
from workflows.products.map_layers import Layer


def holes_of(
    layers: Iterable[Layer], cubes: Mapping[str, Path], inputs: Inputs
) -> dict[str, Holes]:
    """Land cells without a value in each map, by its name.

    `cubes` are the stores of the predicted cubes' inputs.
    """
    found: dict[str, Holes] = {}
    on_cube: dict[str, np.ndarray] = {}
    on_grid: dict[tuple[str, str], np.ndarray] = {}
    for layer in layers:
        cube, store = layer.product.cube, layer.product_store.store
        key = (cube, layer.grid.fingerprint)
        if key not in on_grid:
            source = open_cube(cubes[cube])
            if cube not in on_cube:
                on_cube[cube] = land_mask(source, inputs)
            on_grid[key] = land_on(on_cube[cube], source, layer.grid, cube_tiles(store))
        found[layer.name] = holes(store, on_grid[key], layer.variable)
    return found


def caption(layer: Layer, found: Holes) -> str:
    """The map's title, with the number of land cells without a value where there are any."""
    if not found.missing:
        return layer.title
    return f"{layer.title}; {found.missing} land cells have no value"


def warnings(layers: Sequence[Layer], found: Mapping[str, Holes]) -> list[str]:
    """A line for each map with holes: the number of cells, and where the first of them lie."""
    lines = []
    for layer in layers:
        gaps = found[layer.name]
        if gaps.missing:
            cells = "; ".join(f"{lat:g} N {lon:g} E" for _, _, lon, lat in gaps.cells[:3])
            lines.append(
                f"WARNING: {layer.name}: {gaps.missing} of {gaps.land} land cells have no value, "
                f"the first at {cells}"
            )
    return lines


def flag_faults(layers: Sequence[Layer], found: Mapping[str, Holes]) -> list[Fault]:
    """Faults of maps without a value where their quality flag is "predicted".

    Aggregates are not checked: they may lack times that they need where the prediction has values.
    """
    return [
        Fault(
            f"{layer.name}: {FLAG}",
            f"{found[layer.name].flagged} land cells flagged as predicted that have no value",
            "a value, or the flag of masked land",
            "The map's store was damaged: run `stefaland mosaic CONFIG --restart`.",
        )
        for layer in layers
        if layer.product.aggregate == "none" and found[layer.name].flagged
    ]


def captions(
    layers_by_product: Mapping[str, Sequence[Layer]], found: Mapping[str, Holes]
) -> list[dict[str, str]]:
    """The maps shown in the report with their captions, as stored in published.json."""
    return [
        {
            "file": layer.path("tif").name,
            "image": layer.path("png").name,
            "caption": caption(layer, found[layer.name]),
        }
        for layers in layers_by_product.values()
        for layer in layers
    ]


def caption_faults(
    path: Path, layers_by_product: Mapping[str, Sequence[Layer]], found: Mapping[str, Holes]
) -> list[Fault]:
    """Differences of the stored published.json from the captions and holes of the present maps."""
    try:
        stated = read_json(path, "maps")["maps"]
    except InputError as error:
        return [Fault(str(path), f"unreadable ({error})", "the list of published maps")]
    return difference_faults(path.name, stated, captions(layers_by_product, found))
