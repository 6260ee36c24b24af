"""stefaland pretrain workflows/configs/quickstart.yml

The masked autoencoder of each fold, trained on cells that are not held out.

With `pretrain.from_checkpoint` a given encoder is copied instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from pipeline.core.files import read_json
from pipeline.cube.cells import read_cells
from pipeline.cube.open import open_cube
from stefaland.config import ModelConfig, PretrainConfig
from stefaland.data.cell_data import CellData
from stefaland.data.sharded import ShardedCells
from stefaland.distributed import best_device, free_memory
from stefaland.training.log import RunLog
from stefaland.training.pretext import with_pretext
from stefaland.training.pretrain import FurtherCells, pretrain
from workflows.config.pretraining import PretrainSettings
from workflows.config.schema import Inputs
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import (
    cell_data,
    position_of,
    read_inputs,
    read_known,
    sharded_cells,
    static_names,
)
from workflows.inputs.checked_folds import fold_identity
from workflows.inputs.encoder_inputs import LACKING, lacking
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import HeldOut, fold_checkpoint, take_over
from workflows.inputs.pretraining_cells import KEY, PretrainingCells, record
from workflows.run import Run
from workflows.stages.unpack import (
    cell_index,
    check_run_folds,
    checkpoint_metadata,
    encoder_inputs,
    encoder_requirements,
    network_settings,
)

MEMORY_SHARE = 0.4
"""Fraction of the free memory above which training cells are read shard by shard."""


def outputs(run: Run) -> list[Path]:
    """The folder of all folds' checkpoints."""
    return [run.encoders]


def training_settings(settings: PretrainSettings, seed: int) -> PretrainConfig:
    """The settings of the training recipe, from the config's pretraining section and the seed."""
    own = {*PretrainSettings.model_fields} - {*PretrainConfig.model_fields}
    chosen = settings.model_dump(exclude=own)
    return PretrainConfig(**{**chosen, "seed": seed})


def training_cells(
    cube: Path, index: xr.Dataset, inputs: Inputs, resident: bool | None, made_by: str,
    pretext: Sequence[str] = (),
) -> CellData | ShardedCells:  # fmt: skip
    """The cells of an index that pretrain: in memory where they fit, else read shard by shard.

    `resident`, unless None, chooses between the two. `made_by` is the fingerprint of the stage that
    wrote the cube. Forcings and statics of `inputs` (names) that the cube lacks are missing in all
    cells.
    """
    ds, statics = open_cube(cube), inputs.statics
    if resident is None:
        values = index.sizes["time"] * len(inputs.forcings) + len(statics)
        # The values are held twice: as read and normalised.
        size = 2 * 4 * index.sizes["cell"] * values
        resident = size < MEMORY_SHARE * free_memory(torch.device("cpu"))
    if not resident:
        return sharded_cells(cube, index, inputs, statics, made_by)
    # The index has the land cells already; finding them again would read every forcing twice.
    cells = position_of(ds, index)
    complete = all(name in ds for name in (*inputs.forcings, *statics))
    table = (
        read_inputs(ds, inputs, cells)
        if complete
        else read_known(ds, inputs.forcings, statics, cells)
    )
    data = cell_data(table.assign_coords(index.coords), inputs, statics)
    return _with_pretext(data, ds, cells, pretext) if pretext else data


def _with_pretext(
    data: CellData, ds: xr.Dataset, cells: np.ndarray, names: Sequence[str]
) -> CellData:
    """The table with pretext targets: variables of the cube, and what is simulated of forcings."""
    found = [name for name in names if name in ds and "time" in ds[name].dims]
    values = read_cells(ds, found, cells)
    columns = [values[name].transpose("cell", "time").values for name in found]
    known = None
    if found:
        target = torch.from_numpy(np.stack(columns, -1).astype(np.float32))
        known = replace(data, target=target, target_names=tuple(found))
    return with_pretext(data, known, names)


def main(run: Run) -> dict[str, Any]:
    """Pretrain on every fold, or copy the given encoder.

    Returns the best validation loss of each fold, or the origin of its encoder.
    """
    check_run_folds(run)
    if run.given_encoder is not None:
        return _take_over(run, run.given_encoder)
    return _pretrain(run, run.config.pretrain)


def _take_over(run: Run, checkpoint: Path) -> dict[str, Any]:
    """Copy the given encoder as that of every fold; returns its origin by fold."""
    statics = static_names(open_cube(run.cube(run.config.pretrain.cube)), run.config.inputs)
    required, files = encoder_requirements(run, statics), FoldFiles(run.folder)
    settings = run.config.pretrain
    table, own = cell_index(run, run.config.finetune.cube), cell_index(run, settings.cube)
    only_warn = settings.seen_cells == "warn"

    def held_out(name: str) -> HeldOut:
        cells = record(settings.cube, own, files.pretraining_fold(name))
        return HeldOut(files.fold(name), table, PretrainingCells(**cells), only_warn)

    return {
        name: take_over(
            fold_checkpoint(checkpoint, name),
            run.pretrained(name),
            required,
            files.normaliser(name),
            held_out(name),
        )
        for name in files.names()
    }


@dataclass(frozen=True)
class PretrainingInputs:
    """What the encoders of all folds are pretrained with."""

    data: CellData | ShardedCells
    further: tuple[CellData | ShardedCells, ...]
    """The cells of further cubes, in their order in the settings."""
    network: ModelConfig
    recipe: PretrainConfig
    indices: Mapping[str, xr.Dataset]
    """The labelled cells of all cubes by name, that of `data` first."""


def pretraining_inputs(run: Run) -> PretrainingInputs:
    """The cells of all cubes that pretrain, and the settings of the network and its training."""
    settings, inputs = run.config.pretrain, encoder_inputs(run)
    indices = {cube: cell_index(run, cube) for cube in (settings.cube, *settings.also)}
    data, *further = (
        training_cells(
            run.cube(cube), index, inputs, settings.resident, stage_fingerprint(run, "regrid"),
            settings.also_predict,
        )
        for cube, index in indices.items()
    )  # fmt: skip
    return PretrainingInputs(
        data, tuple(further), network_settings(run, inputs.forcings, inputs.statics),
        training_settings(settings, run.config.seed), indices,
    )  # fmt: skip


def further_cells(run: Run, inputs: PretrainingInputs, fold: str) -> list[FurtherCells]:
    """The cells of further cubes with their folds and weights."""
    files, chosen = FoldFiles(run.folder), run.config.pretrain.also
    return [
        FurtherCells(data=cells, fold=files.pretraining_fold(fold, cube), **dict(of_cube))
        for cells, (cube, of_cube) in zip(inputs.further, chosen.items(), strict=True)
    ]


def _pretrain(run: Run, settings: PretrainSettings) -> dict[str, Any]:
    """Pretrain an encoder on the cells of every fold; returns the best epoch's losses by fold."""
    files, inputs = FoldFiles(run.folder), pretraining_inputs(run)
    names = [*inputs.network.forcings, *inputs.network.statics]
    missing = lacking(names, (open_cube(run.cube(cube)) for cube in inputs.indices))
    absent = {LACKING: missing} if missing else {}
    results = {}
    for name in files.names():
        folder, fold = run.pretrained(name), files.pretraining_fold(name)
        also = further_cells(run, inputs, name)
        with RunLog(folder, title=f"pretrain {name}", tensorboard=settings.tensorboard) as log:
            pretrain(
                inputs.data,
                fold,
                inputs.network,
                inputs.recipe,
                files.normaliser(name),
                folder,
                also=also,
                device=best_device(),
                log=log,
                metadata={
                    **checkpoint_metadata(run, inputs.data.static_names),
                    "fold": fold_identity(fold),
                    **further_identities(dict(zip(settings.also, also, strict=True))),
                    **absent,
                    KEY: [
                        record(cube, index, one)
                        for (cube, index), one in zip(
                            inputs.indices.items(),
                            (fold, *(one.fold for one in also)),
                            strict=True,
                        )
                    ],
                },
            )
        results[name] = read_json(folder / "data.json", "training")["training"]["best"]
    return results


def further_identities(also: Mapping[str, FurtherCells]) -> dict[str, Any]:
    """The folds of further cubes for a checkpoint's metadata; empty without such cubes."""
    found = {cube: fold_identity(cells.fold) for cube, cells in also.items()}
    return {"further_folds": found} if found else {}
