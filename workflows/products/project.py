"""The QGIS project of a run: its groups of layers, written and verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import rasterio

from pipeline.core.errors import Fault, InputError
from pipeline.publish.qgis import project_element, verify_project, write_project
from pipeline.publish.qgis_layers import LayerGroup, map_group
from workflows.products.map_layers import Layer


def project_groups(
    layers_by_product: Mapping[str, Sequence[Layer]], above: Sequence[LayerGroup] = ()
) -> list[LayerGroup]:
    """The groups of the run's QGIS project: every product, below the groups `above`."""
    groups: list[LayerGroup] = []
    for suffix, layers in layers_by_product.items():
        maps = [(layer.heading, layer.path("tif"), layer.legend) for layer in layers]
        groups.append(map_group(suffix, maps, visible=not groups))
    return [*above, *groups]


def write_run_project(
    path: Path,
    title: str,
    layers_by_product: Mapping[str, Sequence[Layer]],
    above: Sequence[LayerGroup] = (),
) -> Path:
    """Write the run's QGIS project: every product, below the groups `above`."""
    return write_project(path, project_groups(layers_by_product, above), title=title)


def project_faults(
    path: Path,
    title: str,
    layers_by_product: Mapping[str, Sequence[Layer]],
    above: Sequence[LayerGroup] = (),
) -> list[Fault]:
    """Differences of the stored QGIS project from that of the present maps."""
    try:
        project = project_element(path, project_groups(layers_by_product, above), title=title)
    except InputError as error:
        return list(error.faults)
    except rasterio.errors.RasterioError as error:
        return [Fault(path.name, f"maps that cannot be read ({error})",
                      "a project of readable maps")]  # fmt: skip
    return verify_project(path, project)
