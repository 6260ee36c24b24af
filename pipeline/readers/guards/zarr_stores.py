"""Zarr stores on disk whose files all lie in them, and arrays whose codecs run no code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from pipeline.core.errors import bad_input
from pipeline.readers.guards.outside import refused


class ContainedStore(LocalStore):
    """A store on disk; raises `InputError` for a symbolic link that leads out of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, read_only=True)
        self.real = os.path.realpath(root)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:  # fmt: skip
        """Return an object or part of it; None if there is none."""
        found = os.path.realpath(os.path.join(self.real, key))
        if found != self.real and not found.startswith(self.real + os.sep):
            raise refused(f"{self.root}/{key}", f"a symbolic link to {found}")
        return await super().get(key, prototype, byte_range)


def check_codecs(arrays: Mapping[str, Any], where: str) -> None:
    """Raise `InputError` for arrays that are stored as pickles, which run code when they are read.

    They are refused even with `trust`.
    """
    for name, array in arrays.items():
        if hasattr(array, "shape") and "pickle" in _codecs(array.metadata.to_dict()):
            raise bad_input(
                f"{where}: {name}", "an array of pickles, which run code when they are read",
                "numbers or texts", "Write it with another codec if you trust it.",
            )  # fmt: skip


def _codecs(value: Any) -> set[str]:
    """Return the names of the codecs in the metadata of an array."""
    if isinstance(value, Mapping):
        own = {str(value.get(key, "")).rpartition(".")[2] for key in ("id", "name")}
        return own.union(*map(_codecs, value.values()))
    return set().union(*map(_codecs, value)) if isinstance(value, list | tuple) else set()
