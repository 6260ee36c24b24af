"""Cell tables as tensors in physical units, addressed by variable name and cell id.

`windows.py` normalises a table once and gathers batches of it; a missing value is NaN in both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import Faults, bad_input, nearest_name
from stefaland.data.normalise import Normaliser, Scaling, fit_scaling
from stefaland.data.tables import LABELS, Names, arrays_of_dataset, as_tuple, dataset_of_frame

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_PER_CELL = ("forcings", "statics", "categorical", "target", "cell", "lonlat", "filled")


@dataclass(frozen=True, kw_only=True)
class CellData:
    """N locations with T time steps in physical units; missing is NaN (categorical: -1)."""

    forcings: Tensor
    """Forcings [N, T, F], float32."""
    statics: Tensor
    """Numeric static attributes [N, S], float32."""
    cell: Tensor
    """Cell ids [N], int64, unique."""
    lonlat: Tensor
    """Coordinates [N, 2] in degrees east and north."""
    time: NDArray[np.datetime64]
    """Times [T], evenly spaced."""
    forcing_names: tuple[str, ...]
    static_names: tuple[str, ...]
    target: Tensor | None = None
    """Target [N, T, O], float32."""
    target_names: tuple[str, ...] = ()
    categorical: Tensor | None = None
    """Class codes [N, K] from 0, int64; -1 is missing."""
    categorical_names: tuple[str, ...] = ()
    group: NDArray[Any] | None = None
    """Label [N] of what neighbours share (source cell, basin); a fold keeps each group whole."""
    region: NDArray[Any] | None = None
    """Label [N] of the contiguous region."""
    filled: Tensor | None = None
    """Mask [N] of the cells with an input that was filled from neighbours, bool."""

    def __post_init__(self) -> None:
        faults = Faults()
        n, t = len(self.cell), len(self.time)
        shapes: dict[str, tuple[int, ...]] = {
            "forcings": (n, t, len(self.forcing_names)),
            "statics": (n, len(self.static_names)),
            "lonlat": (n, 2),
            "target": (n, t, len(self.target_names)),
            "categorical": (n, len(self.categorical_names)),
            "group": (n,),
            "region": (n,),
            "filled": (n,),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                faults.add(f"cell table: {name}", f"shape {tuple(value.shape)}", f"{shape}")
        if n != len(torch.unique(self.cell)):
            faults.add("cell table: cell", f"{n} ids with repeats", "unique ids")
        if t > 2:
            _check_even(self.time, faults)
        faults.raise_if_any()

    def __len__(self) -> int:
        return len(self.cell)

    @classmethod
    def from_dataset(
        cls,
        table: xr.Dataset,
        *,
        forcings: Names,
        statics: Names = (),
        target: Names = (),
        categorical: Names = (),
        filled: str | None = None,
    ) -> CellData:
        """The named variables of a dataset with dims (time, cell), or of a cube (time, y, x).

        Statics and class codes (`categorical`, from 0) have no dim time; a target without it has
        the same value at every time; `filled` is 1 where an input was filled. Coordinates `lon` and
        `lat` are in degrees; `group` and `region` are optional. The ids of a cube's cells are their
        flat indices, and cells without any forcing are left out. Raises `InputError` that lists all
        variables that are missing or have other dims.

        >>> import numpy as np, xarray as xr
        >>> cube = xr.Dataset(
        ...     {"rain": (("time", "y", "x"), np.ones((3, 2, 2))), "clay": (("y", "x"), np.eye(2))},
        ...     {"time": np.array(["2001-01-01", "2001-01-02", "2001-01-03"], "datetime64[ns]"),
        ...      "lat": ("y", [50.5, 49.5]), "lon": ("x", [8.5, 9.5])},
        ... )
        >>> cells = CellData.from_dataset(cube, forcings=["rain"], statics=["clay"])
        >>> cells.forcings.shape, cells.cell.tolist(), cells.lonlat[1].tolist()
        (torch.Size([4, 3, 1]), [0, 1, 2, 3], [9.5, 50.5])
        """
        data = cls(
            **arrays_of_dataset(
                table, forcings=forcings, statics=statics, target=target, categorical=categorical,
                filled=filled,
            )
        )  # fmt: skip
        if "cell" in table.dims:
            return data
        return data.take(torch.nonzero(~data.forcings.isnan().flatten(1).all(1))[:, 0])

    @classmethod
    def from_dataframe(
        cls,
        frame: pd.DataFrame,
        *,
        forcings: Names,
        statics: Names = (),
        target: Names = (),
        categorical: Names = (),
        site: str = "site",
        time: str = "time",
    ) -> CellData:
        """The named columns of a data frame with a row for each site and time.

        Site and time are columns or levels of the index. Columns `lon` and `lat` (degrees), statics
        and class codes have one value per site; `group` and `region` are optional. Integer sites
        are the cell ids, others are numbered in sorted order. Values of a site and time without a
        row are missing. Raises `InputError` that lists missing columns, rows that repeat a site and
        time, and statics that vary at a site.

        >>> import pandas as pd
        >>> frame = pd.DataFrame({
        ...     "site": [7, 7, 9, 9], "time": pd.to_datetime(["2001-01-01", "2001-01-02"] * 2),
        ...     "rain": [0.0, 4.0, 1.0, 2.0], "flow": [0.5, 2.0, 0.1, 0.2],
        ...     "clay": [0.3, 0.3, 0.1, 0.1], "lon": [8.5, 8.5, 9.0, 9.0], "lat": 50.0,
        ... })
        >>> cells = CellData.from_dataframe(
        ...     frame, forcings=["rain"], statics=["clay"], target="flow"
        ... )
        >>> cells.cell.tolist(), cells.forcings[..., 0].tolist()
        ([7, 9], [[0.0, 4.0], [1.0, 2.0]])
        """
        table = dataset_of_frame(
            frame,
            over_time=(*as_tuple(forcings), *as_tuple(target)),
            fixed=(*as_tuple(statics), *as_tuple(categorical)),
            site=site,
            time=time,
        )
        return cls.from_dataset(
            table, forcings=forcings, statics=statics, target=target, categorical=categorical
        )

    def rows(self, cells: NDArray[np.int64] | Tensor) -> Tensor:
        """Rows [n] of these cell ids, int64; `InputError` lists ids that are absent."""
        wanted = np.asarray(cells, dtype=np.int64)
        known = self.cell.numpy()
        order = np.argsort(known, kind="stable")
        position = np.searchsorted(known[order], wanted).clip(max=max(len(known) - 1, 0))
        found = order[position] if len(known) else np.zeros(0, np.int64)
        absent = wanted[known[found] != wanted] if len(known) else wanted
        if len(absent):
            shown = ", ".join(map(str, absent[:5]))
            raise bad_input("cell table", f"no cells {shown} ({len(absent)} in all)", "known ids")
        return torch.as_tensor(found, dtype=torch.int64)

    def take(self, rows: Tensor | NDArray[np.int64]) -> CellData:
        """The table with these rows only."""
        index = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        taken: dict[str, Any] = {}
        for name in (*_PER_CELL, *LABELS):
            value = getattr(self, name)
            if value is not None:
                taken[name] = value[index.numpy() if name in LABELS else index]
        return replace(self, **taken)

    def subset(self, cells: NDArray[np.int64] | Tensor) -> CellData:
        """The table with these cell ids, in their order."""
        return self.take(self.rows(cells))

    def selected(
        self,
        forcings: Sequence[str],
        statics: Sequence[str],
        categorical: Sequence[str] = (),
        hidden: Collection[str] = (),
    ) -> CellData:
        """The table with these variables in this order; those `hidden` are missing in all cells.

        Raises `InputError` that lists all others which the table lacks.
        """
        faults = Faults()
        columns: list[list[int]] = []
        for kind, wanted, known in (
            ("forcing", forcings, self.forcing_names),
            ("static", statics, self.static_names),
            ("categorical", categorical, self.categorical_names),
        ):
            for name in wanted:
                if name not in (*known, *hidden):
                    hint = nearest_name(name, known)
                    faults.add(
                        f"cell table: {kind} {name}",
                        "no such variable",
                        "a variable of the table",
                        hint,
                    )
            columns.append(
                [-1 if name in hidden else known.index(name) for name in wanted
                 if name in (*known, *hidden)]
            )  # fmt: skip
        faults.raise_if_any()
        codes = self.categorical
        if codes is None and categorical:
            codes = self.cell.new_empty((len(self), 0))
        return replace(
            self,
            forcings=_columns(self.forcings, columns[0], torch.nan),
            forcing_names=tuple(forcings),
            statics=_columns(self.statics, columns[1], torch.nan),
            static_names=tuple(statics),
            categorical=None if codes is None else _columns(codes, columns[2], -1),
            categorical_names=tuple(categorical),
        )

    def during(self, steps: slice) -> CellData:
        """The table with these time steps only."""
        target = None if self.target is None else self.target[:, steps]
        return replace(
            self, forcings=self.forcings[:, steps], target=target, time=self.time[steps]
        )  # fmt: skip

    def steps(self, period: tuple[str, str] | None) -> slice:
        """Time steps within an inclusive period of ISO dates (`period_steps`)."""
        return period_steps(self.time, period)


def _columns(values: Tensor, columns: list[int], missing: float) -> Tensor:
    """These columns of values [..., V]; -1 stands for one in which all are `missing`."""
    if -1 in columns:
        empty = values.new_full((*values.shape[:-1], 1), missing)
        return torch.cat([values, empty], -1)[..., columns]
    return values[..., columns]


def period_steps(time: NDArray[np.datetime64], period: tuple[str, str] | None) -> slice:
    """Time steps within an inclusive period of ISO dates; all of them for None.

    Raises `InputError` where the period holds no time step.
    """
    if period is None:
        return slice(0, len(time))
    days = time.astype("datetime64[D]")
    first, last = np.datetime64(period[0], "D"), np.datetime64(period[1], "D")
    inside = np.flatnonzero((days >= first) & (days <= last))
    if not len(inside):
        span = f"{days[0]} to {days[-1]}" if len(days) else "no time"
        raise bad_input("period", f"{period[0]} to {period[1]}", f"dates within {span}")
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _check_even(time: NDArray[np.datetime64], faults: Faults) -> None:
    """Add a fault for steps that are neither equal nor months (28 to 31 days)."""
    days = np.diff(time.astype("datetime64[s]")).astype(np.float64) / 86400.0
    months = days.min() >= 27.0 and days.max() <= 32.0
    if not months and (days.min() <= 0 or days.max() - days.min() > 1e-6):
        where = int(np.argmax(np.abs(days - np.median(days))))
        faults.add(
            "cell table: time",
            f"a step of {days[where]:g} days after {time[where]}",
            "an even, increasing time axis",
            "Fill the gap in the source with missing values.",
        )


def fit_normaliser(
    data: CellData,
    rows: Tensor,
    period: tuple[str, str] | None = None,
    transforms: dict[str, str] | None = None,
    names: tuple[str, ...] | None = None,
) -> Normaliser:
    """Scalings of `names` (all by default), computed from these rows and this period only.

    Raises `InputError` for a variable without a valid value.

    >>> from stefaland.data.example import example_cells
    >>> cells = example_cells()
    >>> scaling = fit_normaliser(cells, cells.rows([0, 1, 2])).scalings["precipitation"]
    >>> scaling.std > 0
    True
    """
    transforms = transforms or {}
    when = data.steps(period)
    tables = (
        (data.forcing_names, data.forcings[:, when]),
        (data.static_names, data.statics),
        (data.target_names, None if data.target is None else data.target[:, when]),
    )
    scalings: dict[str, Scaling] = {}
    for known, values in tables:
        for i, name in enumerate(known):
            if values is not None and (names is None or name in names):
                # One variable at a time: the rows of all variables would double the memory in use.
                scalings[name] = fit_scaling(
                    values[..., i][rows], transforms.get(name, "none"), name
                )
    return Normaliser(scalings)
