"""Predictions of cells as one value: arrays by name, an xarray dataset, or maps on a grid.

Upstream: predict.py. Downstream: notebooks; the stages take the arrays.
"""

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
"""Quality flags; a cell gets the highest that applies."""
FLAG_ATTRS = {
    "flag_values": [PREDICTED, OUTSIDE_RANGE, FILLED_INPUT, MASKED],
    "flag_meanings": "predicted outside_training_range filled_input masked",
}


class Grid(Protocol):
    """A regular grid by its cells' centres."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""

    @property
    def y(self) -> NDArray[Any]:
        """Centres of the rows."""

    @property
    def x(self) -> NDArray[Any]:
        """Centres of the columns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions(Mapping[str, NDArray[Any]]):
    """Predictions of N cells at T time steps for O targets, in physical units; NaN is missing.

    `predictions["mean"]` is the array of that name, as in a mapping of the arrays there are.

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
    """[N, T, O]."""
    spread: NDArray[np.float32]
    """[N, T, O] standard deviation; NaN of a network without any."""
    flag: NDArray[np.uint8]
    """[N] quality: 0 predicted, 1 an input outside the training range, 2 an input filled from
    neighbours, 3 masked."""
    quantiles: NDArray[np.float32] | None = None
    """[N, T, O, Q] at `stefaland.model.quantiles.LEVELS`."""
    cell: NDArray[np.int64]
    """[N] ids; of a grid's cells their flat indices."""
    lonlat: NDArray[Any]
    """[N, 2] degrees east and north."""
    time: NDArray[np.datetime64]
    """[T]."""
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
        """`mean` and `spread` with dims (time, cell), `flag` (cell,), and where there are some
        `quantiles` (quantile, time, cell); of several targets with a first dim `target`.
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
        """As `to_dataset`, with dims (y, x) in place of `cell`; other cells are NaN with flag 3.

        `grid` is that of the cube of which the cells are flat indices, such as a
        `pipeline.TargetGrid`. Raises `InputError` for cells outside it.
        """
        import xarray as xr

        height, width = grid.shape
        outside = self.cell[(self.cell < 0) | (self.cell >= height * width)]
        if outside.size:
            raise bad_input(
                "predictions: cell", f"{outside[0]} ({outside.size} such cells)",
                f"flat indices below {height * width} of a grid of {height} x {width} cells",
                "Give the grid of the cube that the cells were read from.",
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
