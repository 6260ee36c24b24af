"""python -m benchmarks.gpu [--side 128] [--years 8] [--batch 512] [--part pretrain|predict]

Fraction of time in which a GPU is idle while stefaland-base is pretrained from a cube on disk, and
while it predicts a grid, with random cubes of 7 daily forcings and 10 static attributes and windows
of 365 days. Busy time is the union of all kernels and copies recorded by CUDA's profiler; the rest
of the wall time, including validation and checkpoints, is idle. Pretraining is measured from its
second epoch on, because compiling and the first reading do not depend on its length. The limits are
5 % idle time in pretraining and 10 % in prediction. The last figure is the time for one year of the
land of a global 0.1 degree grid.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.batches import cell_table, make_cube, sharded
from pipeline.cube.write import open_cube
from pipeline.grid.target_grid import TargetGrid
from stefaland.config import (
    FinetuneConfig,
    ModelConfig,
    OptimiserConfig,
    PretrainConfig,
    model_preset,
)
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.data.sharded import ShardedCells
from stefaland.distributed import best_device
from stefaland.folds.split import Fold, Locations, make_folds
from stefaland.model.finetuned import FinetunedModel
from stefaland.prediction.member import Member
from stefaland.training.log import RunLog
from stefaland.training.pretrain import pretrain
from workflows.config.load import load_config
from workflows.inputs.choice import Choice
from workflows.inputs.map_model import MapModel
from workflows.run import Run
from workflows.stages.predict import predict_cube

CONFIG = load_config("conus_smap", ["roots.data=."])
FORCINGS, STATICS = tuple(CONFIG.inputs.forcings), tuple(CONFIG.inputs.statics)
DEVICE = best_device()
"""Device of the benchmark; without a GPU the script runs, but its figures are meaningless."""
GLOBAL_LAND_CELLS = 0.29 * 1800 * 3600


@dataclass
class Busy:
    """Wall time, and time in which the device was busy, in seconds."""

    wall: float = 0.0
    busy: float = 0.0

    @property
    def idle(self) -> float:
        return 1 - self.busy / self.wall


@contextmanager
def watched(found: Busy) -> Iterator[None]:
    """Profile the device within the block."""
    _wait()
    kind = ProfilerActivity.CUDA if DEVICE.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[kind]) as profiler:
        began = time.perf_counter()
        yield
        _wait()
        found.wall += time.perf_counter() - began
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    end = float("-inf")
    for start, stop in spans:
        found.busy += max(0.0, stop - max(start, end)) / 1e6
        end = max(end, stop)


def _wait() -> None:
    """Wait until the device has finished all its work."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class ProfiledLog(RunLog):
    """Log that profiles the device from the end of the first epoch to that of the last."""

    def __init__(self, epochs: int) -> None:
        super().__init__(None)
        self.epochs, self.found, self.samples = epochs, Busy(), 0.0
        self._watch = watched(self.found)

    def epoch(self, epoch: int, epochs: int, samples: float, record: dict[str, float]) -> None:
        if epoch:
            self.samples += samples
        if epoch == 0:
            self._watch.__enter__()
        if epoch == self.epochs - 1:
            self._watch.__exit__(None, None, None)


def pretraining(
    data: CellData | ShardedCells, fold: Fold, normaliser: Normaliser, size: int, per_cell: int,
    compiled: bool,
) -> tuple[ProfiledLog, float]:  # fmt: skip
    """Log of three epochs of pretraining, the last two profiled, and the peak GiB of the device."""
    config = PretrainConfig(
        epochs=3, batch_size=size, windows_per_cell=per_cell, precision="bfloat16",
        compile=compiled, optimiser=OptimiserConfig(lr=1e-4),
    )  # fmt: skip
    network = model_preset("stefaland-base", forcings=FORCINGS, statics=STATICS)
    log = ProfiledLog(config.epochs)
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        pretrain(data, fold, network, config, normaliser, folder, device=DEVICE, log=log)
    peak = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else 0
    return log, peak / 2**30


def pretrain_table(path: Path, size: int, years: int) -> Table:
    """Table of pretraining from resident and streamed data, with and without torch.compile."""
    table = Table("cells", "network", "samples/s", "idle (bar 5 %)", "peak GiB",
                  title=f"pretraining, bf16, batches of {size}")  # fmt: skip
    cells = np.arange(open_cube(path).sizes["y"] * open_cube(path).sizes["x"])
    resident = cell_table(open_cube(path), cells, FORCINGS, STATICS)
    lonlat = np.stack([cells % 360 - 180.0, cells % 170 - 85.0], 1)
    fold = make_folds("groups", Locations(cells, lonlat, cells), k=10, validation_share=0.05)[0]
    normaliser = fit_normaliser(resident, resident.rows(fold.train))
    for name, data in (("resident", resident), ("streamed", sharded(path, FORCINGS, STATICS))):
        for compiled in (False, True):
            log, peak = pretraining(data, fold, normaliser, size, years, compiled)
            table.add_row(
                name, "compiled" if compiled else "eager", f"{log.samples / log.found.wall:.0f}",
                f"{log.found.idle:.1%}", f"{peak:.1f}",
            )  # fmt: skip
    return table


@dataclass(frozen=True)
class Synthetic(Run):
    """A run whose only cube is synthetic."""

    store: Path = Path()
    side: int = 0
    scratch: Path = field(default=Path())

    def grid(self, cube: str) -> TargetGrid:
        side = self.side
        return TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, side * 0.1, side * 0.1), 0.1)

    def cube(self, name: str) -> Path:
        return self.store

    def prediction(self, name: str) -> Path:
        return self.scratch / f"{name}.zarr"

    def ledger(self, stage: str, name: str) -> Path:
        return self.scratch / f"{stage}-{name}"


def untrained(seed: int) -> Member:
    """A finetuned network of random weights, which costs as much as a trained one."""
    torch.manual_seed(seed)
    network = ModelConfig(forcings=FORCINGS, statics=STATICS)
    settings = FinetuneConfig(window=365, warmup_steps=60)
    scalings = dict.fromkeys((*FORCINGS, *STATICS, CONFIG.inputs.target), Scaling(0.5, 0.3))
    return Member(
        model=FinetunedModel(network, settings),
        normaliser=Normaliser(scalings),
        forcing_names=FORCINGS,
        static_names=STATICS,
        target_names=(CONFIG.inputs.target,),
        window=365,
        warmup_steps=60,
    )


def predict_table(path: Path, side: int, years: int, size: int) -> Table:
    """Table of prediction from cube to cube, with one network and with an ensemble of three."""
    table = Table("networks", "cells x years/s", "idle (bar 10 %)", "global 0.1°, a year",
                  title=f"prediction, bf16, batches of {size}")  # fmt: skip
    settings = CONFIG.predict.model_copy(update={"batch_size": size})
    config = CONFIG.model_copy(update={"predict": settings})
    for count in (1, 3):
        members = [untrained(seed) for seed in range(count)]
        choice = Choice("stefaland", "the benchmark measures it")
        for _ in range(2):
            found = Busy()
            with (
                tempfile.TemporaryDirectory() as folder,
                # The fingerprint depends on earlier stages, which have not been run.
                patch("workflows.stages.predict.stage_fingerprint", lambda run, name: "benchmark"),
            ):
                run = Synthetic(config, store=path, side=side, scratch=Path(folder))
                with watched(found):
                    predict_cube(run, "conus", MapModel(networks=members), choice)
        pace = side**2 * years / found.wall
        table.add_row(
            str(count),
            f"{pace:.0f}",
            f"{found.idle:.1%}",
            f"{GLOBAL_LAND_CELLS / pace / 60:.0f} min",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--years", type=int, default=8)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--part", choices=("pretrain", "predict"))
    args = parser.parse_args()
    console = Console(width=120)
    console.print(torch.cuda.get_device_name() if DEVICE.type == "cuda" else DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cube.zarr"
        make_cube(path, args.side, args.years, FORCINGS, STATICS)
        if args.part != "predict":
            console.print(pretrain_table(path, args.batch, args.years))
        if args.part != "pretrain":
            console.print(predict_table(path, args.side, args.years, args.batch))


if __name__ == "__main__":
    main()
