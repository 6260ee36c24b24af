"""Values that several stages and commands take from a run, for functions without access to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from pipeline.core.provenance import provenance
from pipeline.cube.open import open_cube
from pipeline.publish.qgis_layers import LayerGroup
from stefaland.config import ModelConfig, model_preset
from workflows.config.schema import Inputs
from workflows.inputs import cells
from workflows.inputs.cells import SITES, Labels
from workflows.inputs.checked_folds import check_folds
from workflows.inputs.folds import FoldFiles, without_sparse
from workflows.inputs.given_encoder import EncoderRequirements
from workflows.products.map_layers import Layer, ProductStore, layers
from workflows.products.scored_sites import Colouring, scores_groups
from workflows.run import Run, source_entries


def labels(run: Run, cube: str) -> Labels:
    """Origin of the labels of a cube's cells."""
    config = run.config
    inputs, regions = config.inputs, config.folds.regions
    has_sites = bool(config.cubes[config.finetune.cube].locations or inputs.target_sites)
    sources = [run.catalog[name] for name in inputs.sources]
    wanted = () if has_sites else (inputs.target, *inputs.further_targets)
    of_targets = [next(s for s in sources if name in s.variables) for name in wanted]
    return Labels(
        tuple({source.name: source for source in of_targets}.values()),
        SITES if config.cubes[cube].locations else f"cells of {cube}",
        run.catalog[regions.source] if regions.source else None,
        regions.column,
        regions.variable or "",
    )


def cell_index(run: Run, cube: str) -> xr.Dataset:
    """The labelled coordinates of a cube's land cells."""
    return cells.cell_index(run.cube(cube), run.config.inputs, labels(run, cube))


def labelled_cells(run: Run) -> xr.Dataset:
    """All land cells of the finetuning cube with inputs and target, labelled and in memory.

    Of several targets, those that are too sparse at a cell are missing (`folds.min_observed`).
    """
    cube, inputs = run.config.finetune.cube, run.config.inputs
    table = cells.labelled_cells(run.cube(cube), inputs, labels(run, cube)).load()
    return without_sparse(table, inputs.targets, run.config.folds)


def check_run_folds(run: Run) -> None:
    """Raise `InputError` with every leak of the run's folds and of their statistics, by file."""
    config = run.config
    table = cell_index(run, config.finetune.cube)
    same = config.pretrain.cube == config.finetune.cube
    other = table if same else cell_index(run, config.pretrain.cube)
    files = FoldFiles(run.folder)
    further = {cube: cell_index(run, cube) for cube in config.pretrain.also}
    check_folds(files, config.folds, config.finetune.warmup_steps, table, other, further)


def network_settings(run: Run, forcings: Sequence[str], statics: Sequence[str]) -> ModelConfig:
    """The network settings: the configured preset with these inputs and their masking groups."""
    return model_preset(
        run.config.model.preset,
        forcings=tuple(forcings),
        statics=tuple(statics),
        static_groups=cells.static_groups(statics, run.variables),
        pretext=run.config.pretrain.also_predict,
        **run.config.model.settings,
    )


def encoder_inputs(run: Run) -> Inputs:
    """The inputs of the encoder: those of the run, by name, and those of pretraining alone."""
    settings = run.config.pretrain
    opened = [open_cube(run.cube(name)) for name in (settings.cube, *settings.also)]
    names = cells.FurtherNames(settings.also_forcings, settings.also_statics)
    return cells.further_names(opened, run.config.inputs, names)


def encoder_requirements(run: Run, statics: Sequence[str]) -> EncoderRequirements:
    """The requirements of the run on an encoder that it does not pretrain."""
    units = {name: variable.units for name, variable in run.variables.items()}
    return EncoderRequirements(
        run.config.inputs.forcings, statics, units, run.config.finetune.window,
        run.config.pretrain.hide_absent,
    )  # fmt: skip


def checkpoint_metadata(run: Run, statics: Sequence[str]) -> dict[str, Any]:
    """Metadata of the run for its checkpoints: name, units, settings, sources and versions."""
    inputs, written = run.config.inputs, run.config.written()
    settings = {
        name: written[name] for name in ("inputs", "folds", "model", "pretrain", "finetune")
    }
    names = [*inputs.forcings, *run.config.pretrain.also_forcings, *statics, inputs.target,
             *inputs.further_targets]  # fmt: skip
    return {
        "run": run.config.name,
        "units": {name: run.variables[name].units for name in names if name in run.variables},
        "provenance": provenance(settings, source_entries(run)),
    }


def product_layers(run: Run) -> dict[str, list[Layer]]:
    """The maps of every product by its suffix."""
    config = run.config
    inputs, settings = config.inputs, config.publish
    return {
        product.suffix: layers(
            ProductStore(
                product, run.mosaic(product.suffix), run.product_grid(product), run.maps,
                inputs.targets[0],
            ),
            inputs, settings, config.finetune.head,
        )
        for product in settings.products
    }  # fmt: skip


def score_groups(run: Run) -> list[LayerGroup]:
    """The group of the scored sites in the QGIS project; empty before the score stage has run."""
    colouring = Colouring.of_task(run.config.finetune.task)
    has_basins = run.config.publish.basins is not None
    return scores_groups(run.scored_sites, colouring, has_basins)


def heldout_stores(run: Run, models: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Stores of held-out predictions by fold and model: fold → model → path."""
    return {
        fold: {model: run.finetuned(model, fold) / "heldout.zarr" for model in models}
        for fold in FoldFiles(run.folder).names()
    }
