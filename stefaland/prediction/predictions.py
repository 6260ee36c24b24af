"""Predictions of cells as one value: arrays by name, an xarray dataset, or maps on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import bad_input
from stefaland.model.quantiles import LEVELS

if TYPE_CHECKING:
    import xarray as xr

PREDICTED, OUTSIDE_RANGE, FILLED_INPUT, MASKED = 0, 1, 2, 3
"""Quality flags; a cell has the highest that applies."""
FLAG_ATTRS = {
    "flag_values": [PREDICTED, OUTSIDE_RANGE, FILLED_INPUT, MASKED],
    "flag_meanings": "predicted outside_training_range filled_input masked",
}


class Grid(Protocol):
    """A regular grid described by the centres of its cells."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""

    @property
    def y(self) -> NDArray[Any]:
        """Coordinates of the centres of the rows."""

    @property
    def x(self) -> NDArray[Any]:
        """Coordinates of the centres of the columns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions(Mapping[str, NDArray[Any]]):
    """Predictions of N cells at T time steps for O targets, in physical units; NaN is missing.

    They are a mapping too: `predictions["mean"]` is the array of that name.

    >>> import numpy as np
    >>> found = Predictions(
    ...     mean=np.array([[[0.2]], [[0.3]]]), spread=np.array([[[0.01]], [[0.02]]]),
    ...     flag=np.array([0, 1], np.uint8), cell=np.array([0, 3]),
    ...     lonlat=np.array([[8.5, 50.5], [9.5, 49.5]]), time=np.array(["2001-01-01"], "M8[ns]"),
    ...     target_names=("soil_moisture",),
    ... )
    >>> list(found), found["flag"].tolist()
    (['mean', 'spread', 'flag'], [0, 1])
    >>> found.to_dataset()["mean"].dims
    ('time', 'cell')
    >>> from types import SimpleNamespace
    >>> grid = SimpleNamespace(shape=(2, 2), y=np.array([50.5, 49.5]), x=np.array([8.5, 9.5]))
    >>> found.to_grid(grid)["flag"].values.tolist()
    [[0, 3], [3, 1]]
    """

    mean: NDArray[np.float32]
    """Mean [N, T, O]."""
    spread: NDArray[np.float32]
    """Standard deviation [N, T, O]; NaN for a network without any."""
    flag: NDArray[np.uint8]
    """Quality flag [N]: 0 predicted, 1 an input outside the training range, 2 an input filled from
    neighbours, 3 masked."""
    quantiles: NDArray[np.float32] | None = None
    """Quantiles [N, T, O, Q] at `stefaland.model.quantiles.LEVELS`."""
    cell: NDArray[np.int64]
    """Cell ids [N]; flat indices for the cells of a grid."""
    lonlat: NDArray[Any]
    """Coordinates [N, 2] in degrees east and north."""
    time: NDArray[np.datetime64]
    """Times [T]."""
    target_names: tuple[str, ...]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in tuple(self):
            raise KeyError(name)
        values: NDArray[Any] = getattr(self, name)
        return values

    def __iter__(self) -> Iterator[str]:
        yield from ("mean", "spread", "flag")
        if self.quantiles is not None:
            yield "quantiles"

    def __len__(self) -> int:
        return 3 + (self.quantiles is not None)

    def to_dataset(self) -> xr.Dataset:
        """Dataset of `mean` and `spread` with dims (time, cell), `flag` (cell,) and, if present,
        `quantiles` (quantile, time, cell); several targets add a first dim `target`.
        """
        import xarray as xr

        dims = ("cell", "time", "target")
        arrays: dict[str, Any] = {
            "mean": (dims, self.mean),
            "spread": (dims, self.spread),
            "flag": ("cell", self.flag, FLAG_ATTRS),
        }
        coords: dict[str, Any] = {
            "time": self.time,
            "cell": self.cell,
            "lon": ("cell", self.lonlat[:, 0]),
            "lat": ("cell", self.lonlat[:, 1]),
            "target": list(self.target_names),
        }
        if self.quantiles is not None:
            arrays["quantiles"] = ((*dims, "quantile"), self.quantiles)
            coords["quantile"] = list(LEVELS)
        ds = xr.Dataset(arrays, coords)
        ds = ds.isel(target=0) if len(self.target_names) == 1 else ds
        return ds.transpose("target", "quantile", "time", "cell", missing_dims="ignore")

    def to_grid(self, grid: Grid) -> xr.Dataset:
        """Dataset like that of `to_dataset`, with dims (y, x) in place of `cell`.

        Cells without a prediction are NaN with flag 3. `grid`, such as a `pipeline.TargetGrid`, is
        that of the cube whose flat indices the cell ids are. Raises `InputError` for cells outside
        it.
        """
        import xarray as xr

        height, width = grid.shape
        outside = self.cell[(self.cell < 0) | (self.cell >= height * width)]
        if outside.size:
            raise bad_input(
                "predictions: cell", f"{outside[0]} ({outside.size} such cells)",
                f"flat indices below {height * width} of a grid of {height} x {width} cells",
                "Pass the grid of the cube from which the cells were read.",
            )  # fmt: skip

        def placed(da: xr.DataArray) -> xr.Variable:
            whole = np.full(
                (*da.shape[:-1], height * width), MASKED if da.name == "flag" else np.nan, da.dtype
            )
            whole[..., self.cell] = da.values
            shape = (*da.shape[:-1], height, width)
            return xr.Variable((*da.dims[:-1], "y", "x"), whole.reshape(shape), da.attrs)

        ds = self.to_dataset()
        kept = ds.drop_vars(["cell", "lon", "lat", *ds.data_vars]).coords
        maps = xr.Dataset({name: placed(da) for name, da in ds.data_vars.items()}, kept)
        return maps.assign_coords(y=grid.y, x=grid.x)
