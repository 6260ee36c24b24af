"""stefaland pretrain workflows/configs/quickstart.yml

The masked autoencoder, pretrained once a fold on cells that are not held out, or taken over from
elsewhere (given_encoder.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from pipeline.core.files import read_json
from pipeline.core.provenance import provenance
from pipeline.cube.open import open_cube
from stefaland.config import ModelConfig, PretrainConfig, model_preset
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.sharded import ShardedCells
from stefaland.distributed import best_device
from stefaland.folds.split import Fold
from stefaland.training.log import RunLog
from stefaland.training.pretrain import pretrain
from workflows.inputs.cells import (
    cell_data,
    cell_index,
    open_cells,
    position_of,
    sharded_cells,
    static_groups,
    static_names,
)
from workflows.inputs.checked_folds import check_folds, fold_identity
from workflows.inputs.folds import fold_names
from workflows.inputs.given_encoder import take_over
from workflows.run import Run, source_entries

MEMORY_SHARE = 0.4
"""Share of the free memory that training cells may take before they are streamed."""


def outputs(run: Run) -> list[Path]:
    """Checkpoints of every fold."""
    return [run.folder / "pretrained"]


def training_settings(run: Run) -> PretrainConfig:
    """The config's pretraining section, with the run's seed."""
    settings = run.config.pretrain.model_dump(
        exclude={"cube", "from_checkpoint", "resident", "tensorboard"}
    )
    return PretrainConfig(**{**settings, "seed": run.config.seed})


def network_settings(run: Run, statics: tuple[str, ...]) -> ModelConfig:
    """The configured preset with the run's variables and masking groups."""
    return model_preset(
        run.config.model.preset,
        forcings=run.config.inputs.forcings,
        statics=statics,
        static_groups=static_groups(run, statics),
        **run.config.model.settings,
    )


def training_cells(run: Run) -> CellData | ShardedCells:
    """The cells that pretrain: in memory where they fit, else read shard by shard.

    `pretrain.resident` in the config decides for itself where it is set.
    """
    cube = run.config.pretrain.cube
    index = cell_index(run, cube)
    ds = open_cube(run.cube(cube))
    statics = static_names(run, ds)
    resident = run.config.pretrain.resident
    if resident is None:
        values = index.sizes["time"] * len(run.config.inputs.forcings) + len(statics)
        # Once as read and once normalised.
        size = 2 * 4 * index.sizes["cell"] * values
        resident = size < MEMORY_SHARE * psutil.virtual_memory().available
    if not resident:
        return sharded_cells(run, cube, index, statics)
    # The index knows the land cells: to look for them again would read every forcing twice.
    table = open_cells(run, cube, position_of(ds, index)).assign_coords(index.coords)
    return cell_data(run, table, statics)


def main(run: Run) -> dict[str, Any]:
    """Pretrain on every fold, or take the given encoder over; gives each fold's held-out
    reconstruction, or where its encoder is from.
    """
    check_folds(run)
    if run.config.pretrain.from_checkpoint is not None:
        statics = static_names(run, open_cube(run.cube(run.config.pretrain.cube)))
        return {
            name: take_over(run, name, statics, Normaliser.from_dict(read_json(run.stats(name))))
            for name in fold_names(run)
        }
    data = training_cells(run)
    names = data.static_names
    model_config = network_settings(run, names)
    results = {}
    for name in fold_names(run):
        folder, fold = run.pretrained(name), Fold.load(run.fold(f"pretrain/{name}"))
        with RunLog(
            folder, title=f"pretrain {name}", tensorboard=run.config.pretrain.tensorboard
        ) as log:
            pretrain(
                data,
                fold,
                model_config,
                training_settings(run),
                Normaliser.from_dict(read_json(run.stats(name))),
                folder,
                device=best_device(),
                log=log,
                about={**about(run, names), "fold": fold_identity(fold)},
            )
        results[name] = read_json(folder / "data.json")["training"]["best"]
    return results


def about(run: Run, statics: tuple[str, ...]) -> dict[str, Any]:
    """What a checkpoint says of its run: units, settings, sources and versions."""
    settings = {
        name: getattr(run.config, name).model_dump(mode="json")
        for name in ("inputs", "folds", "model", "pretrain", "finetune")
    }
    return {
        "run": run.config.name,
        "units": units(run, statics),
        "provenance": provenance(settings, source_entries(run)),
    }


def units(run: Run, statics: tuple[str, ...]) -> dict[str, str]:
    """Units of every input and the target, for the checkpoint."""
    names = [*run.config.inputs.forcings, *statics, run.config.inputs.target]
    return {name: run.variables[name].units for name in names if name in run.variables}
