"""Gridded data from source to map: xarray in, xarray out.

Every exported name is imported at its first use, so that `import pipeline` costs nothing.
"""

from typing import TYPE_CHECKING

from pipeline.core.lazy import lazy_exports

if TYPE_CHECKING:
    from pipeline.build import build_cube as build_cube
    from pipeline.catalog.catalog import Catalog as Catalog
    from pipeline.catalog.catalog import read_catalog as read_catalog
    from pipeline.core.errors import InputError as InputError
    from pipeline.cube.open import open_cube as open_cube
    from pipeline.entries.source import Source as Source
    from pipeline.grid.named_grids import named_grid as named_grid
    from pipeline.grid.target_grid import TargetGrid as TargetGrid
    from pipeline.maps.aggregate import aggregate as aggregate
    from pipeline.maps.legend import read_legend as read_legend
    from pipeline.maps.mosaic import mosaic as mosaic
    from pipeline.publish.geotiff import write_cog as write_cog
    from pipeline.publish.zarr import write_map_zarr as write_map_zarr
    from pipeline.readers.registry import register_reader as register_reader
    from pipeline.regridding.regrid import regrid as regrid
    from pipeline.sources.canonical import canonicalise as canonicalise
    from pipeline.sources.open import open_source as open_source

EXPORTS = {
    "build_cube": "pipeline.build",
    "Catalog": "pipeline.catalog.catalog",
    "read_catalog": "pipeline.catalog.catalog",
    "InputError": "pipeline.core.errors",
    "open_cube": "pipeline.cube.open",
    "Source": "pipeline.entries.source",
    "named_grid": "pipeline.grid.named_grids",
    "TargetGrid": "pipeline.grid.target_grid",
    "aggregate": "pipeline.maps.aggregate",
    "read_legend": "pipeline.maps.legend",
    "mosaic": "pipeline.maps.mosaic",
    "write_cog": "pipeline.publish.geotiff",
    "write_map_zarr": "pipeline.publish.zarr",
    "register_reader": "pipeline.readers.registry",
    "regrid": "pipeline.regridding.regrid",
    "canonicalise": "pipeline.sources.canonical",
    "open_source": "pipeline.sources.open",
}
"""The module of each exported name."""

__all__ = list(EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
