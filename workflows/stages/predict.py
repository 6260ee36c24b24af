"""stefaland predict workflows/configs/quickstart.yml

The ensemble's prediction of every land cell, tile by tile, as cubes.

The next tiles are read and the last ones written during computation; cells of several tiles share
forward passes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core.errors import bad_input
from pipeline.core.provenance import provenance
from pipeline.cube.integrity import repeat_lost
from pipeline.cube.open import open_cube, read_store
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube
from pipeline.execution.ledger import Ledger
from pipeline.execution.overlap import Overlapped
from pipeline.execution.run import run_stage
from pipeline.maps.seams import BOUNDARIES
from stefaland.distributed import best_device
from stefaland.tasks import values_of
from workflows.console import CONSOLE
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import land_mask
from workflows.inputs.choice import Choice
from workflows.inputs.folds import FoldFiles
from workflows.inputs.map_model import load_map_model
from workflows.inputs.stacked_map import Mapped
from workflows.products.map_layers import interval
from workflows.products.predicted_maps import (
    PredictionLayers,
    TilePrediction,
    read_tile,
    series_time,
)
from workflows.run import Run
from workflows.stages.mapped import mapped_model

GPU_THREADS = 4
"""Number of threads that read tiles for a GPU, and of those that write."""


def outputs(run: Run) -> list[Path]:
    """The prediction cubes and their tile markers."""
    cubes = run.config.predict.cubes
    return [*map(run.prediction, cubes), *(run.ledger("predict", name) for name in cubes)]


def stores(run: Run) -> dict[Path, Ledger]:
    """The prediction cubes, with the ledgers of their tiles."""
    made_by = stage_fingerprint(run, "predict")
    return {
        run.prediction(name): Ledger(run.ledger("predict", name), made_by)
        for name in run.config.predict.cubes
    }


def main(run: Run) -> dict[str, Any]:
    """Predict every configured cube; returns the counts of tiles and cells of each."""
    if not run.config.predict.cubes:
        return {}
    choice = mapped_model(run)
    CONSOLE.print(f"  predict  {choice.sentence}", soft_wrap=True)
    folders = [run.finetuned(choice.model, name) for name in FoldFiles(run.folder).names()]
    model = load_map_model(folders)
    return {cube: predict_cube(run, cube, model, choice) for cube in run.config.predict.cubes}


def predict_cube(run: Run, cube: str, model: Mapped, choice: Choice) -> dict[str, Any]:
    """Predict every land cell of a cube; returns its numbers of tiles and cells."""
    inputs, settings, device = run.config.inputs, run.config.predict, best_device()
    task, grid, store = run.config.finetune.task, run.grid(cube), run.prediction(cube)
    variables = {name: run.variables[name] for name in inputs.targets}
    quantiles = interval(run.config.finetune.head) if model.has_quantiles else ()
    layers = PredictionLayers(variables, values_of(task) == "quantity", quantiles)
    source = open_cube(run.cube(cube))
    time = None
    if layers.has_time:
        sources = [run.catalog[name] for name in inputs.sources]
        time = series_time(source["time"], sources, inputs.targets)
    template = cube_template(grid, time, layers.variables, read_store(run.cube(cube)).tile)
    boundaries = _boundaries(model, source["time"].values) if layers.has_time else {}
    create_cube(store, template, _attributes(run) | choice.attributes | boundaries)
    mask = land_mask(source, inputs)
    if not mask.any():
        raise bad_input(f"cube {cube}", "no land cell", "at least one cell to predict")
    # The open cube is passed on, so that its metadata are not read again with every tile.
    read = partial(read_tile, source, inputs, mask, model.static_names)
    reduced = settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda"
    )
    dtype = torch.bfloat16 if reduced else torch.float32
    predict = model.predictor(task, settings.batch_size, device, dtype)
    ledger = stores(run)[store]
    repeat_lost(store, ledger)
    report = run_stage(
        f"predict {cube}",
        template.tiles,
        TilePrediction(store, grid, layers, read, predict).task,
        ledger,
        Overlapped(1 if device.type == "cpu" else GPU_THREADS),
        part=run.part,
        task_seconds=run.config.cluster.task_seconds,
    )
    return {"tiles": len(report.done) + len(report.skipped), "cells": int(mask.sum())}


def _boundaries(model: Mapped, time: np.ndarray) -> dict[str, list[str]]:
    """The times at which a window of the model begins or ends to count; empty without any."""
    steps = model.boundaries(len(time))
    return {BOUNDARIES: [str(time[step]) for step in steps]} if steps else {}


def _attributes(run: Run) -> dict[str, Any]:
    written = run.config.written()
    settings = {
        name: written[name] for name in ("inputs", "folds", "model", "pretrain", "finetune")
    }
    sources = {
        name: run.catalog[name].model_dump(mode="json") for name in run.config.inputs.sources
    }
    return provenance(settings, sources)
