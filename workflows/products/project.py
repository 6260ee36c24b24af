"""The QGIS project of a run."""

from __future__ import annotations

from pathlib import Path

from pipeline.publish.qgis import write_project
from pipeline.publish.qgis_layers import LayerGroup, map_group
from workflows.products.map_layers import Layer
from workflows.run import Run


def project_path(run: Run) -> Path:
    """The QGIS project beside the maps."""
    return run.maps / f"{run.config.name}.qgz"


def project_groups(of_product: dict[str, list[Layer]], *above: LayerGroup) -> list[LayerGroup]:
    """The groups of the run's QGIS project: every product, below the groups `above`."""
    groups: list[LayerGroup] = []
    for suffix, of in of_product.items():
        maps = [(layer.heading, layer.path("tif"), layer.legend) for layer in of]
        groups.append(map_group(suffix, maps, visible=not groups))
    return [*above, *groups]


def write_run_project(run: Run, of_product: dict[str, list[Layer]], *above: LayerGroup) -> Path:
    """Write the run's QGIS project: every product, below the groups `above`."""
    groups = project_groups(of_product, *above)
    return write_project(project_path(run), groups, title=run.config.title)
