"""counting(): bytes of the chunks of sources that are decoded, as a ratio to those stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from xarray.backends.netCDF4_ import NetCDF4ArrayWrapper
from xarray.backends.zarr import ZarrArrayWrapper

Described = Callable[[Any], tuple[str, Sequence[int]]]
"""Function of a lazy array of a file that returns the name of its variable and its chunks."""


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Yield the bytes of the chunks that this process decodes, by variable.

    Coordinates of one dimension are left out. Each reading counts all chunks of NetCDF and Zarr
    (those within a shard), or messages of GRIB (as `grib`), that it meets, whole: none is kept for
    the next.
    """
    found: Counter[str] = Counter()
    kinds: list[tuple[type, Described]] = [
        (NetCDF4ArrayWrapper, _netcdf),
        (ZarrArrayWrapper, _zarr),
    ]
    try:
        from cfgrib.xarray_plugin import CfGribArrayWrapper
    except ImportError:
        pass
    else:
        kinds.append((CfGribArrayWrapper, _grib))
    with ExitStack() as stack:
        for kind, described in kinds:
            counted = _counted(kind.__getitem__, described, found)  # type: ignore[attr-defined]
            stack.enter_context(patch.object(kind, "__getitem__", counted))
        yield found


def _counted(real: Callable[..., Any], described: Described, found: Counter[str]) -> Any:
    def counted(self: Any, key: Any) -> Any:
        (name, chunks), count = described(self), self.dtype.itemsize
        for one, chunk, size in zip(key.tuple, chunks, self.shape, strict=True):
            count *= len({i // chunk for i in np.atleast_1d(np.arange(size)[one])}) * chunk
        if len(self.shape) > 1:
            found[name] += count
        return real(self, key)

    return counted


def _netcdf(array: NetCDF4ArrayWrapper) -> tuple[str, Sequence[int]]:
    chunks = array.get_array(needs_lock=False).chunking()
    # "contiguous" is not in chunks
    return array.variable_name, [1] * len(array.shape) if isinstance(chunks, str) else chunks


def _zarr(array: ZarrArrayWrapper) -> tuple[str, Sequence[int]]:
    stored = array.get_array()
    return stored.path.rpartition("/")[2], stored.chunks


def _grib(array: Any) -> tuple[str, Sequence[int]]:
    return "grib", [1] * (len(array.shape) - 2) + [*array.shape[-2:]]
