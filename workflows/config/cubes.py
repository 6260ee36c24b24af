"""The `cubes` section of a run's settings: the cubes of its model locations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.core.settings import Frozen, Limit
from pipeline.grid.target_grid import MAX_SIDE

Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]


class CubeSpec(Frozen):
    """One cube of model locations: a grid filled from rasters or points, or a table of sites."""

    grid: str | None = None
    tile: tuple[Side, Side] | None = None
    """Rows and columns of a tile, the unit of work, of storage and of resuming; by default chosen
    from the grid and the number of times."""
    time_shard: int | None = Field(None, gt=0)
    """Number of time steps in a file; by default as many as make 256 MiB."""
    locations: str | None = None
    """Catalog entry of hydrologic units, basins or stations, which are the cells of the cube."""
    points_from: str | None = None
    """Name of a cube of sites that are interpolated onto `grid`."""
    max_distance_km: Limit = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _one_kind(self) -> CubeSpec:
        if (self.grid is None) == (self.locations is None):
            raise ValueError("a cube has either a grid or locations")
        if self.points_from and not self.grid:
            raise ValueError("points_from needs a grid to interpolate onto")
        return self
