"""merged(): parts of one source on a target grid as one, by preference, with means at seams.

Each part, such as final and preliminary data or the tiles of a mosaic, was regridded on its own.
In each target cell and step the first part with enough valid area is used. Where the grids of parts
end within the cell, as at the seam of two tiles, the result is the mean over all of these, weighted
by their coverage: for means and fractions of classes exactly that over the whole area.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.grid.crs import crs_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.elements import OUTLINES
from pipeline.regridding.operators import Separable
from pipeline.regridding.regrid import operator_for

ADDITIVE = {"conservative", "mean", "fractions", "bilinear", "nearest"}
"""Methods whose results are weighted means, so that those of parts of a cell can be averaged."""
_SLACK = 1e-6  # rounding of sums of coverage in float32


@dataclass(frozen=True)
class Domain:
    """The bounds (west, south, east, north) of a part and the size of its cells, in their CRS."""

    crs: str
    bounds: tuple[float, float, float, float]
    cell: tuple[float, float]

    def overlaps(self, other: Domain) -> bool:
        """Whether both share more than the outermost cells, which tiles may have in common."""
        return self.crs == other.crs and all(
            min(self.bounds[i + 2], other.bounds[i + 2]) - max(self.bounds[i], other.bounds[i])
            > 1.01 * max(self.cell[i], other.cell[i])
            for i in (0, 1)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One part of a source on the target grid, regridded with a `min_coverage` of 0.

    `ds` has variables with their coverage, dims (time?, y, x); `extent` is the fraction of each
    target cell that lies on the part's grid, whether its values are valid or not, dims (y, x).
    """

    ds: xr.Dataset
    extent: np.ndarray
    min_coverage: float = 0.5
    method: str = "conservative"
    domain: Domain | None = None


def merged(parts: Iterable[Part]) -> xr.Dataset:
    """The variables of all parts, each with its coverage, dims (time?, y, x).

    The values of a part whose grid has the whole target cell are used if its coverage is at least
    its `min_coverage`. Tiles, whose grids each have some of the cell, are used together: their mean
    weighted by coverage, or, for methods without such means, that of the largest coverage. Parts
    whose domains overlap, as those of final and preliminary data, are not averaged. All are tried
    in the order of the parts. NaN where none has enough; coverage is then the largest.
    `InputError` for a variable with times in one part only.

    >>> grid = {"y": [0.5], "x": [0.5]}
    >>> def part(value, covered):
    ...     one = xr.DataArray([[value]], grid, ("y", "x"), attrs={"ancillary_variables": "v_c"})
    ...     ds = xr.Dataset({"v": one, "v_c": (("y", "x"), [[covered]])})
    ...     return Part(ds=ds, extent=np.array([[covered]]))
    >>> merged([part(1.0, 0.75), part(5.0, 0.25)])["v"].item()
    2.0
    """
    sums: dict[str, _Sum] = {}
    coords, attrs = None, {}
    for part in parts:
        if coords is None:
            coords, attrs = part.ds.coords, part.ds.attrs
        for name, da in part.ds.data_vars.items():
            cover = da.attrs.get("ancillary_variables")
            if cover is None:
                continue
            if name not in sums:
                sums[str(name)] = _Sum(da, part.ds[cover])
            found = sums[str(name)]
            if da.shape != found.value.shape:
                raise bad_input(
                    str(name), f"dimensions {', '.join(map(str, da.dims))} in one part",
                    f"{', '.join(found.dims)}, as in another",
                    "Merge entries with equal dimensions.",
                )  # fmt: skip
            found.add(da.values, part.ds[cover].values, part)
    result: dict[str, xr.Variable] = {}
    for name, one in sums.items():
        result |= one.finish(name)
    # Coverage comes last, as in the result of `regrid`.
    ordered = sorted(result, key=lambda name: name.endswith("_coverage"))
    return xr.Dataset({name: result[name] for name in ordered}, coords, attrs)


def extent_of(ds: xr.Dataset, target_grid: TargetGrid, method: str) -> np.ndarray:
    """The fraction of each target cell that lies on the grid of a canonical `ds`; dims (y, x)."""
    operator = operator_for(ds, target_grid, method)
    if isinstance(operator, Separable):
        return np.outer(operator.y.total, operator.x.total)
    extent = np.zeros(operator.shape)
    for rows in operator.strips():
        matrix, _ = operator.matrix(rows)
        cell = np.repeat(np.arange(matrix.begin.size - 1), np.diff(matrix.begin))
        found = np.bincount(cell, matrix.weight, matrix.begin.size - 1)
        extent[rows] = found.reshape(-1, operator.shape[1])
    return extent


def domain_of(ds: xr.Dataset) -> Domain:
    """The domain of a canonical Dataset; cells without rows overlap where they are the same."""
    if not {"x", "y"} <= set(ds.coords):
        if OUTLINES in ds.coords:
            cells = hash(tuple(ds[OUTLINES].values.tolist()))
        else:
            cells = hash(tuple(ds[name].values.tobytes() for name in ("lat", "lon")))
        return Domain(f"cells {cells}", (0.0, 0.0, 1.0, 1.0), (0.0, 0.0))
    (west, east, dx), (south, north, dy) = (_side(ds[name].values) for name in ("x", "y"))
    return Domain(crs_of(ds), (west, south, east, north), (dx, dy))


def _side(centres: np.ndarray) -> tuple[float, float, float]:
    """The ends of an axis and the size of its smallest cell."""
    size = float(np.abs(np.diff(centres)).min()) if centres.size > 1 else 0.0
    return float(centres.min()) - size / 2, float(centres.max()) + size / 2, size


class _Sum:
    """The merged values of one variable so far, and the sums of parts that have some of a cell."""

    def __init__(self, da: xr.DataArray, cover: xr.DataArray) -> None:
        self.dims, self.attrs = tuple(map(str, da.dims)), (da.attrs, cover.attrs)
        self.names = str(da.attrs["ancillary_variables"])
        self.value = np.full(da.shape, np.nan, da.dtype)
        self.coverage = np.zeros(da.shape, np.float32)
        self.settled = np.zeros(da.shape, bool)
        self.seam: tuple[np.ndarray, np.ndarray] | None = None
        self.least = 0.0
        self.extent = np.zeros(da.shape[-2:])
        self.domains: list[Domain] = []

    def add(self, values: np.ndarray, coverage: np.ndarray, part: Part) -> None:
        coverage = np.nan_to_num(coverage)
        whole = np.broadcast_to(part.extent >= 1 - _SLACK, coverage.shape)
        free = ~self.settled & (coverage > 0)
        if self.seam is not None:
            free &= ~(whole & _reaches(self.seam[1], self.least))
        used = free & whole & _reaches(coverage, part.min_coverage)
        np.copyto(self.value, values, where=used)
        np.copyto(self.coverage, coverage, where=used)
        self.settled |= used
        np.fmax(self.coverage, coverage, out=self.coverage, where=~self.settled)
        partial = free & ~whole
        if partial.any():
            self._add_seam(values, coverage, partial, part)

    def _add_seam(
        self, values: np.ndarray, coverage: np.ndarray, partial: np.ndarray, part: Part
    ) -> None:
        if self.seam is None:
            self.seam = np.zeros(self.value.shape), np.zeros(self.value.shape)
            self.least = part.min_coverage
        total, weight = self.seam
        overlaps = part.extent + self.extent > 1 + _SLACK
        if part.domain is not None:
            if any(part.domain.overlaps(other) for other in self.domains):
                overlaps |= self.extent > 0
            self.domains.append(part.domain)
        self.extent += part.extent
        instead = partial & overlaps & ~_reaches(weight, self.least) & (coverage > weight)
        np.copyto(total, np.multiply(values, coverage, dtype=np.float64), where=instead)
        np.copyto(weight, coverage, where=instead)
        partial = partial & ~overlaps
        if part.method in ADDITIVE:
            np.add(total, np.multiply(values, coverage, dtype=np.float64), out=total, where=partial)
            np.add(weight, coverage, out=weight, where=partial)
            return
        larger = partial & (coverage > weight)
        np.copyto(total, np.multiply(values, coverage, dtype=np.float64), where=larger)
        np.copyto(weight, coverage, where=larger)

    def finish(self, name: str) -> dict[str, xr.Variable]:
        if self.seam is not None:
            total, weight = self.seam
            open_ = ~self.settled & (weight > 0)
            used = open_ & _reaches(weight, self.least)
            with np.errstate(invalid="ignore", divide="ignore"):
                np.copyto(self.value, (total / weight).astype(self.value.dtype), where=used)
            covered = np.minimum(weight, 1).astype(np.float32)
            np.fmax(self.coverage, covered, out=self.coverage, where=open_ & ~used)
            np.copyto(self.coverage, covered, where=used)
        attrs, cover_attrs = self.attrs
        return {
            name: xr.Variable(self.dims, self.value, attrs),
            self.names: xr.Variable(self.dims, self.coverage, cover_attrs),
        }


def _reaches(coverage: np.ndarray, least: float) -> np.ndarray:
    return coverage >= max(least - _SLACK, 1e-12)
