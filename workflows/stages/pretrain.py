"""stefaland pretrain workflows/configs/quickstart.yml

The masked autoencoder, pretrained once a fold on cells that are not held out, or taken over from
elsewhere (given_encoder.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import xarray as xr

from pipeline.core.files import read_json
from pipeline.cube.open import open_cube
from stefaland.config import PretrainConfig
from stefaland.data.cell_data import CellData
from stefaland.data.sharded import ShardedCells
from stefaland.distributed import best_device
from stefaland.training.log import RunLog
from stefaland.training.pretrain import pretrain
from workflows.config.schema import Inputs, PretrainSettings
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import cell_data, position_of, read_inputs, sharded_cells, static_names
from workflows.inputs.checked_folds import fold_identity
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import given_checkpoint, take_over
from workflows.run import Run
from workflows.stages.unpack import (
    about,
    cell_index,
    check_run_folds,
    network_settings,
    wanted_encoder,
)

MEMORY_SHARE = 0.4
"""Share of the free memory that training cells may take before they are streamed."""


def outputs(run: Run) -> list[Path]:
    """Checkpoints of every fold."""
    return [run.encoders]


def training_settings(settings: PretrainSettings, seed: int) -> PretrainConfig:
    """What the recipe needs of the config's pretraining section, with the run's seed."""
    chosen = settings.model_dump(exclude={"cube", "from_checkpoint", "resident", "tensorboard"})
    return PretrainConfig(**{**chosen, "seed": seed})


def training_cells(
    cube: Path, index: xr.Dataset, inputs: Inputs, resident: bool | None, made_by: str
) -> CellData | ShardedCells:
    """The cells of an index that pretrain: in memory where they fit, else read shard by shard.

    `resident` decides where it is not None. `made_by` is the fingerprint of the stage that wrote
    the cube.
    """
    ds = open_cube(cube)
    statics = static_names(ds, inputs)
    if resident is None:
        values = index.sizes["time"] * len(inputs.forcings) + len(statics)
        # Once as read and once normalised.
        size = 2 * 4 * index.sizes["cell"] * values
        resident = size < MEMORY_SHARE * psutil.virtual_memory().available
    if not resident:
        return sharded_cells(cube, index, inputs, statics, made_by)
    # The index knows the land cells: to look for them again would read every forcing twice.
    table = read_inputs(ds, inputs, position_of(ds, index)).assign_coords(index.coords)
    return cell_data(table, inputs, statics)


def main(run: Run) -> dict[str, Any]:
    """Pretrain on every fold, or take the given encoder over; gives each fold's held-out
    reconstruction, or where its encoder is from.
    """
    check_run_folds(run)
    if run.config.pretrain.from_checkpoint is not None:
        return _take_over(run, run.config.pretrain.from_checkpoint)
    return _pretrain(run, run.config.pretrain)


def _take_over(run: Run, given: Path) -> dict[str, Any]:
    """The given encoder as that of every fold."""
    statics = static_names(open_cube(run.cube(run.config.pretrain.cube)), run.config.inputs)
    wanted, files = wanted_encoder(run, statics), FoldFiles(run.folder)
    return {
        name: take_over(
            given_checkpoint(given, name), run.pretrained(name), wanted, files.normaliser(name)
        )
        for name in files.names()
    }


def _pretrain(run: Run, settings: PretrainSettings) -> dict[str, Any]:
    """An encoder of every fold, trained on its cells."""
    cube, files = settings.cube, FoldFiles(run.folder)
    data = training_cells(
        run.cube(cube), cell_index(run, cube), run.config.inputs, settings.resident,
        stage_fingerprint(run, "regrid"),
    )  # fmt: skip
    network, recipe = (
        network_settings(run, data.static_names),
        training_settings(settings, run.config.seed),
    )
    results = {}
    for name in files.names():
        folder, fold = run.pretrained(name), files.pretraining_fold(name)
        with RunLog(folder, title=f"pretrain {name}", tensorboard=settings.tensorboard) as log:
            pretrain(
                data,
                fold,
                network,
                recipe,
                files.normaliser(name),
                folder,
                device=best_device(),
                log=log,
                about={**about(run, data.static_names), "fold": fold_identity(fold)},
            )
        results[name] = read_json(folder / "data.json")["training"]["best"]
    return results
