"""A step whose writes take long enough to be killed meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pipeline.core.files
from pipeline.grid.tiles import Tile
from tests.cubes import fill_tile


def _slow_fsync(_descriptor: int) -> None:
    """Half of the bytes have a name by now; the final name comes later."""
    time.sleep(0.01)


def fill_slowly(path: Path, tile: Tile) -> dict[str, Any]:
    pipeline.core.files.os.fsync = _slow_fsync
    return fill_tile(path, tile)
