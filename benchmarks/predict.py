"""Throughput of predicting a whole grid, as a fraction of the throughput of the model alone.

`python -m benchmarks.predict CONFIG` requires a finetuned run. The reference is the same ensemble
on the same passes, in memory and normalised beforehand; the predict stage adds reading,
normalising, copying to maps and writing. The limit is 85 %. Both run in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pipeline.cube.open import open_cube
from stefaland.data.windows import Windows
from stefaland.distributed import best_device
from stefaland.prediction.distribution import plan_windows
from stefaland.prediction.member import Member
from stefaland.prediction.predict import pass_size
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data, land_mask, read_inputs
from workflows.inputs.choice import Choice
from workflows.inputs.folds import FoldFiles
from workflows.inputs.map_model import MapModel, load_map_model
from workflows.run import Run
from workflows.stages.predict import predict_cube


@dataclass(frozen=True)
class Elsewhere(Run):
    """The run, with predictions and markers in another folder."""

    scratch: Path = Path()

    def prediction(self, name: str) -> Path:
        return self.scratch / f"{name}.zarr"

    def ledger(self, stage: str, name: str) -> Path:
        return self.scratch / f"{stage}-{name}"


def resident(run: Run, cube: str, ensemble: Sequence[Member]) -> list[Windows]:
    """Normalised table of each member, with enough cells for eight passes."""
    device = best_device()
    size = pass_size(ensemble) if device.type == "cpu" else run.config.predict.batch_size
    store, inputs = open_cube(run.cube(cube)), run.config.inputs
    cells = np.flatnonzero(land_mask(store, inputs))[: 8 * size]
    data = cell_data(read_inputs(store, inputs, cells).load(), inputs, ensemble[0].static_names)
    made = []
    for member in ensemble:
        selected = data.selected(
            member.forcing_names, member.static_names, member.categorical_names
        )
        made.append(
            Windows(selected, member.normaliser, member.window, cyclic=member.cyclic, device=device)
        )
    return made


def model_alone(ensemble: Sequence[Member], tables: Sequence[Windows], size: int) -> float:
    """Cells per second of the networks on resident windows; on the CPU with a pass per thread."""
    rows = torch.arange(len(tables[0]), device=tables[0].device)
    threads = torch.get_num_threads()
    workers = threads if tables[0].device.type == "cpu" else 1

    def run(part: torch.Tensor) -> None:
        with torch.inference_mode():
            for member, windows in zip(ensemble, tables, strict=True):
                for stretch in plan_windows(
                    windows.n_steps, member.window, member.warmup_steps, member.cyclic,
                    member.overlap_steps,
                ):  # fmt: skip
                    batch = windows.gather(part, torch.full_like(part, stretch.start))
                    member.model(batch).mean.sum().item()

    torch.set_num_threads(1 if workers > 1 else threads)
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()
        list(pool.map(run, rows.split(size)))
        seconds = time.perf_counter() - began
    torch.set_num_threads(threads)
    return len(rows) / seconds


def whole_grid(run: Run, cube: str, model: MapModel) -> float:
    """Cells per second of the predict stage, from cube to cube."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        choice = Choice("stefaland", "the benchmark measures it")
        done = predict_cube(Elsewhere(run.config, scratch=Path(folder)), cube, model, choice)
        return int(done["cells"]) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Run(load_config(args.config, args.overrides))
    folders = [run.finetuned("stefaland", name) for name in FoldFiles(run.folder).names()]
    model = load_map_model(folders)
    ensemble = model.networks
    device = best_device()
    size = pass_size(ensemble) if device.type == "cpu" else run.config.predict.batch_size
    table = Table("cube", "pass", "model alone, cells/s", "whole grid, cells/s", "share (bar 0.85)",
                  title=f"{run.config.name}: {device}, {args.threads} threads")  # fmt: skip
    for cube in run.config.predict.cubes:
        tables = resident(run, cube, ensemble)
        model_alone(ensemble, tables, size)
        alone, grid = [], []
        for _ in range(args.repeat):
            alone.append(model_alone(ensemble, tables, size))
            grid.append(whole_grid(run, cube, model))
        ratios = sorted(g / a for g, a in zip(grid, alone, strict=True))
        table.add_row(
            cube, str(size), f"{statistics.median(alone):.0f}", f"{statistics.median(grid):.0f}",
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
