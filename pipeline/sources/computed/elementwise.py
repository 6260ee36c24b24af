"""elementwise(): a function of several stored variables as one lazy variable.

Only the block that is wanted is read of each, and computed in pieces: memory is that of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

PIECE = 1 << 20
"""Number of values that are computed at once."""


class Elementwise(BackendArray):
    """A function of arrays, of which each value depends on the values of the same cell and time."""

    def __init__(
        self, operands: Sequence[xr.Variable], compute: Callable[..., np.ndarray],
        dims: Sequence[str], shape: Sequence[int], dtype: Any,
    ) -> None:  # fmt: skip
        self.operands = operands
        self.compute = compute
        self.dims = tuple(dims)
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def pieces(self) -> list[xr.Variable]:
        """The numbers in each file of the operands, of which a check reads the last."""
        found: list[xr.Variable] = []
        for operand in self.operands:
            if operand.dtype.kind in "iuf" and operand.size:
                found += getattr(getattr(operand._data, "array", None), "pieces", None) or [operand]
        return found

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        # Numbers become slices, so that the operands keep their axes.
        slices = [part if isinstance(part, slice) else slice(part, part + 1) for part in key]
        parts = [self._part(operand, dict(zip(self.dims, slices, strict=True)))
                 for operand in self.operands]  # fmt: skip
        shape = [len(range(size)[part]) for size, part in zip(self.shape, slices, strict=True)]
        out = np.empty(shape, self.dtype)
        rows = max(1, PIECE // max(1, out[:1].size)) if out.size else 1
        for begin in range(0, out.shape[0] if out.ndim else 0, rows):
            piece = slice(begin, begin + rows)
            out[piece] = self.compute(*(p[piece] if p.shape[0] > 1 else p for p in parts))
        numbers = tuple(slice(None) if isinstance(part, slice) else 0 for part in key)
        return np.asarray(out[numbers])

    def _part(self, operand: xr.Variable, slices: dict[str, slice]) -> np.ndarray:
        """Return the wanted part of an operand with all axes of the result, some of length 1."""
        part = operand[tuple(slices[str(dim)] for dim in operand.dims)]
        wanted = [dim for dim in self.dims if dim in part.dims]
        values = part.transpose(*wanted).values
        absent = tuple(i for i, dim in enumerate(self.dims) if dim not in part.dims)
        return np.expand_dims(values, absent)


def elementwise(
    operands: Sequence[xr.Variable],
    compute: Callable[..., np.ndarray],
    dtype: Any,
    attrs: dict[Any, Any],
    encoding: dict[Any, Any],
) -> xr.Variable:
    """Return `compute(*operands)` as a lazy variable with the dims of all operands, in their order.

    `compute` takes arrays that broadcast against each other. Operands with a dim have its size.
    """
    sizes: dict[str, int] = {}
    for operand in sorted(operands, key=lambda variable: -variable.ndim):
        sizes |= {str(dim): size for dim, size in operand.sizes.items() if dim not in sizes}
    array = Elementwise(operands, compute, tuple(sizes), tuple(sizes.values()), dtype)
    data = indexing.LazilyIndexedArray(array)
    return xr.Variable(tuple(sizes), data, attrs, encoding, fastpath=True)
