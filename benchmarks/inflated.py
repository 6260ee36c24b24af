"""counting(): bytes of the chunks of NetCDF files that are decoded, as a ratio to those stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from xarray.backends.netCDF4_ import NetCDF4ArrayWrapper


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Yield the bytes of the chunks that this process decodes, by variable.

    Each reading counts all chunks that it meets, whole: none is kept for the next.
    """
    found: Counter[str] = Counter()
    real = NetCDF4ArrayWrapper.__getitem__

    def counted(self: NetCDF4ArrayWrapper, key: Any) -> Any:
        chunks, count = self.get_array(needs_lock=False).chunking(), self.dtype.itemsize
        if isinstance(chunks, str):  # not in chunks
            chunks = [1] * len(self.shape)
        for one, chunk, size in zip(key.tuple, chunks, self.shape, strict=True):
            count *= len({i // chunk for i in np.atleast_1d(np.arange(size)[one])}) * chunk
        found[self.variable_name] += count
        return real(self, key)

    NetCDF4ArrayWrapper.__getitem__ = counted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        NetCDF4ArrayWrapper.__getitem__ = real  # type: ignore[method-assign]
