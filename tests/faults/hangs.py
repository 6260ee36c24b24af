"""Items that hang or take too much memory, for workers to import."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.system.time_limit import reading


@dataclass(frozen=True)
class Job:
    name: str


def jobs(count: int) -> list[Job]:
    return [Job(f"t{number}") for number in range(count)]


def read_a_pipe(folder: Path, job: Job) -> dict[str, int]:
    """Tile t1 reads a pipe that nobody fills, as from a server that does not answer."""
    if job.name == "t1":
        with reading(folder / "rain.nc"), (folder / "rain.nc").open("rb") as file:
            file.read()
    return {"pid": os.getpid()}


def take_memory(size: int, job: Job) -> dict[str, int]:
    """Tile t1 takes and touches `size` bytes."""
    if job.name == "t1":
        values = np.zeros(size, np.uint8)
        values[::4096] = 1
        time.sleep(20)
    return {}


def ask_for_too_much(job: Job) -> dict[str, int]:
    """Tile t1 asks for more memory than any machine has."""
    if job.name == "t1":
        np.zeros((1 << 59,), np.float64)
    return {}
