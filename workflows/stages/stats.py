"""stefaland stats workflows/configs/quickstart.yml

The folds, and statistics of each fold's training cells for normalising.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.core.files import write_json
from pipeline.cube.cells import any_valid, by_shard, read_cells, valid_fraction
from pipeline.cube.moments import Moments, accumulate, merge_all
from pipeline.cube.open import open_cube
from pipeline.sources.locations import read_locations_source
from stefaland.data.cell_data import period_steps
from stefaland.data.normalise import Normaliser, find_transform
from stefaland.folds.leakage import check_parts
from stefaland.folds.split import Fold
from stefaland.tasks import TASKS, check_target, impossible_targets, values_of
from workflows.config.schema import Inputs
from workflows.inputs import site_targets
from workflows.inputs.carried_folds import carried_fold, further_fold
from workflows.inputs.cells import position_of, transforms
from workflows.inputs.checked_folds import write_statistics
from workflows.inputs.folds import FoldFiles, WindowSteps, locations, run_folds, with_target
from workflows.run import Run
from workflows.stages.unpack import cell_index, encoder_inputs

SUM_TOLERANCE = 0.02
"""Maximum deviation from 1 of the sum of measured fractions, which are rounded."""


def outputs(run: Run) -> list[Path]:
    """Folds, statistics, and tables of the sites that were matched and left out.

    A target of sites is written into the finetuning cube as well.
    """
    inputs, sites = run.config.inputs, []
    if inputs.target_sites:
        cube = run.cube(run.config.finetune.cube)
        sites = [run.sites, *(cube / name / "c" for name in inputs.targets)]
    return [*FoldFiles(run.folder).patterns, run.excluded, *sites]


def moments(
    cube: xr.Dataset, index: xr.Dataset, name: str, cells: np.ndarray, transform: str
) -> Moments:
    """Moments of the transformed values of `cells`, one shard in memory at a time."""
    chosen = index.isel(cell=np.flatnonzero(np.isin(index["cell"].values, cells)))
    scale = find_transform(transform)
    parts = [accumulate(np.zeros(0))]
    for shard in by_shard(cube, position_of(cube, chosen)):
        values = read_cells(cube, [name], shard)[name].values
        lowest = np.nanmin(values) if np.isfinite(values).any() else 0.0
        if scale.lowest is not None and lowest < scale.lowest:
            raise bad_input(
                name, f"the value {lowest:g}", f"{scale.lowest:g} or more, for its transform",
                "Check the source's units and nodata.",
            )  # fmt: skip
        parts.append(accumulate(scale.forward(values.astype(np.float64))))
    return merge_all(parts)


def fold_statistics(
    cube: xr.Dataset,
    index: xr.Dataset,
    names: Sequence[str],
    cells: np.ndarray,
    transforms_by_name: dict[str, str],
) -> Normaliser:
    """The normaliser of `names` from training cells; `InputError` lists all without a value."""
    return Normaliser.from_moments(
        {
            name: moments(cube, index, name, cells, transforms_by_name[name]).to_dict()
            for name in names
        },
        transforms_by_name,
    )


def further_statistics(
    parts: Sequence[tuple[xr.Dataset, xr.Dataset, np.ndarray]], names: Sequence[str],
    transforms_by_name: Mapping[str, str],
) -> Normaliser:  # fmt: skip
    """The normaliser of `names` from the training cells of all cubes that have each of them.

    `parts` holds the training period of each cube, the index of its cells and the ids of those that
    train. Raises `InputError` with all names without a value.
    """
    found = {
        name: merge_all([
            moments(cube, index, name, cells, transforms_by_name[name])
            for cube, index, cells in parts
            if name in cube
        ]).to_dict()
        for name in names
    }  # fmt: skip
    return Normaliser.from_moments(found, dict(transforms_by_name))


def main(run: Run) -> dict[str, Any]:
    """Match sites to cells, make and check the folds, and write the statistics of each.

    Returns the number of cells in each part of every fold.
    """
    config, files = run.config, FoldFiles(run.folder)
    _match_sites(run)
    finetune_cube = open_cube(run.cube(config.finetune.cube))
    finetune_cells = cell_index(run, config.finetune.cube)
    same = config.pretrain.cube == config.finetune.cube
    pretrain_cube = finetune_cube if same else open_cube(run.cube(config.pretrain.cube))
    pretrain_cells = finetune_cells if same else cell_index(run, config.pretrain.cube)
    of_encoder, targets = encoder_inputs(run), config.inputs.targets
    inputs = [*of_encoder.forcings, *of_encoder.statics]
    # What the pretraining cube lacks has the statistics of the further cubes.
    own = [name for name in inputs if name in pretrain_cube or name in config.inputs.forcings]
    transforms_by_name = transforms([*inputs, *targets], run.variables, config.inputs.transforms)
    wrong = np.zeros(1, bool)
    if values_of(config.finetune.task) != "quantity":
        wrong = _impossible(finetune_cube, config.inputs, config.finetune.task, run.excluded)
    windows = WindowSteps(
        config.pretrain.window, config.finetune.window, config.finetune.warmup_steps
    )
    least = config.folds.min_observed
    # A site may have some of several quantities only; a composition needs all of its parts.
    apart = values_of(config.finetune.task) == "quantity" and len(targets) > 1
    further = {name: cell_index(run, name) for name in config.pretrain.also}
    result = {}
    further_cubes = {name: open_cube(run.cube(name)) for name in further}
    for fold in run_folds(finetune_cells, config.folds, windows):
        pretraining_fold = fold if same else carried_fold(fold, finetune_cells, pretrain_cells)
        _check_pretraining(pretraining_fold, pretrain_cells)
        together = [(name,) for name in targets] if apart else [targets]
        known = [_observed(finetune_cube, finetune_cells, names, fold, wrong, least)
                 for names in together]  # fmt: skip
        target_fold = with_target(fold, _of_any(known))
        _check_sizes(target_fold, config.folds.min_cells)
        if apart:
            _check_each(fold, dict(zip(targets, known, strict=True)))
        early, late = (_during(cube, fold.train_period) for cube in (pretrain_cube, finetune_cube))
        scaling = fold_statistics(
            early, pretrain_cells, own, pretraining_fold.train, transforms_by_name
        )
        if TASKS.get(config.finetune.task).is_scaled:
            for names, ids in zip(together, known, strict=True):
                # Without a minimum, cells that lack a target add no value to its statistics.
                train = np.intersect1d(fold.train, ids["train"]) if least else target_fold.train
                of_target = fold_statistics(late, finetune_cells, names, train, transforms_by_name)
                scaling = scaling.merged(of_target)
        pretraining_fold.save(files.pretraining_cells(fold.name))
        parts = []
        for name, cells in further.items():
            of_cube = further_fold(fold, finetune_cells, cells)
            _check_pretraining(of_cube, cells)
            _check_period(name, cells, fold.train_period)
            of_cube.save(files.pretraining_cells(fold.name, name))
            parts.append((_during(further_cubes[name], fold.train_period), cells, of_cube.train))
        others = [name for name in inputs if name not in own]
        scaling = scaling.merged(further_statistics(parts, others, transforms_by_name))
        target_fold.save(files.cells(fold.name))
        write_statistics(files, target_fold, pretraining_fold, scaling)
        result[fold.name] = {
            part: len(getattr(target_fold, part))
            for part in ("train", "validation", "test", "dropped")
        }
    return {"folds": result}


def _match_sites(run: Run) -> None:
    """Write the sites' values into the finetuning cube, if the target is of sites."""
    inputs = run.config.inputs
    if inputs.target_sites:
        sites = read_locations_source(run.catalog[inputs.target_sites], run.variables)
        cube = run.cube(run.config.finetune.cube)
        site_targets.write_site_targets(cube, sites, inputs, run.sites, run.config.seed)


def _impossible(cube: xr.Dataset, inputs: Inputs, task: str, report: Path) -> np.ndarray:
    """Mask of the cells with an impossible target, flattened; they are listed in `report`.

    Raises `InputError` with their sites unless `inputs.exclude_impossible` leaves them out.
    """
    values = np.stack([cube[name].values.ravel() for name in inputs.targets], -1)
    sites = cube["cell"].values if "cell" in cube.dims else np.arange(len(values))
    wrong, expected = impossible_targets(task, values, SUM_TOLERANCE)
    if not inputs.exclude_impossible:
        check_target(task, values, inputs.targets, sites, SUM_TOLERANCE)
    write_json(report, {"expected": expected, "sites": [int(site) for site in sites[wrong]]})
    return wrong


def _during(cube: xr.Dataset, period: tuple[str, str] | None) -> xr.Dataset:
    """The part of a cube within a period, or the whole cube without one."""
    return cube if period is None else cube.isel(time=period_steps(cube["time"].values, period))


def _observed(
    cube: xr.Dataset, index: xr.Dataset, targets: Sequence[str], fold: Fold, wrong: np.ndarray,
    least: float = 0.0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Ids of the cells with every target at some time in the period of each part, by part.

    With `least`, at that fraction of the period's time steps or more.
    """
    position = position_of(cube, index)
    seen: dict[Any, np.ndarray] = {}
    for period in set(fold.periods.values()):
        during = _during(cube, period)
        masks = [
            valid_fraction(during[name]) >= least if least else any_valid(during[name])
            for name in targets
        ]
        known = np.logical_and.reduce([mask.ravel() for mask in masks])
        known &= ~wrong
        seen[period] = index["cell"].values[known[position]]
    periods = {**fold.periods, "validation": fold.validation_period or fold.train_period}
    return {part: seen[period] for part, period in periods.items()}


def _of_any(known: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Ids of the cells with any of several targets, by part."""
    return {part: np.unique(np.concatenate([ids[part] for ids in known])) for part in known[0]}


def _check_pretraining(fold: Fold, index: xr.Dataset) -> None:
    """Raise `InputError` for leaks among the cells that pretrain, and where none is left."""
    if not len(fold.train):
        raise bad_input(
            f"fold {fold.name}: pretraining", "no cells that are independent of held-out cells",
            "at least one", "Pretrain on a cube that is finer or reaches further, or use more "
            "folds or a smaller buffer.",
        )  # fmt: skip
    check_parts(fold, locations(index))


def _check_period(cube: str, cells: xr.Dataset, period: tuple[str, str] | None) -> None:
    """Raise `InputError` where a further cube has no step in the training period."""
    try:
        period_steps(cells["time"].values, period)
    except InputError as error:
        first = error.faults[0]
        raise bad_input(
            f"pretrain.also.{cube}", f"a cube of {first.expected.removeprefix('dates within ')}",
            f"days of folds.train_period, {first.found}", "Leave the cube out, or set `time.period`"
            " of its sources.",
        ) from None  # fmt: skip


def _check_each(fold: Fold, known: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raise `InputError` with every target that no cell of a part has."""
    faults = Faults()
    for target, ids in known.items():
        for part in ("train", "validation", "test"):
            if not np.isin(getattr(fold, part), ids[part]).any():
                faults.add(
                    f"fold {fold.name}: {part}", f"no cell with {target}", "at least 1",
                    "Use other regions, fewer folds, or leave this target out.",
                )  # fmt: skip
    faults.raise_if_any()


def _check_sizes(fold: Fold, minimum: int) -> None:
    faults = Faults()
    for part, need in (("train", minimum), ("validation", 1), ("test", 1)):
        count = len(getattr(fold, part))
        if count < need:
            faults.add(
                f"fold {fold.name}: {part}", f"{count} cells with a target", f"at least {need}",
                "Use other regions, fewer folds, or a target that covers them.",
            )  # fmt: skip
    faults.raise_if_any()
