"""stefaland stats workflows/configs/quickstart.yml

The folds, and per fold the training statistics that normalise: training cells alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.stats import Moments, accumulate, merge_all
from stefaland.errors import Faults, bad_input
from stefaland.normalise import Normaliser, find_transform
from stefaland.splits import Fold
from workflows.cells import labelled, open_cells, static_names, transforms
from workflows.context import Run
from workflows.folds import carried_fold, run_folds, with_target
from workflows.state import write_json

CELLS_AT_ONCE = 4096


def depends(run: Run) -> Any:
    """Inputs, folds, and the transforms of their variables."""
    inputs = run.config.inputs
    return {
        "inputs": inputs.model_dump(mode="json"),
        "folds": run.config.folds.model_dump(mode="json"),
        "cubes": [run.config.pretrain.cube, run.config.finetune.cube],
        "variables": {
            name: variable.model_dump(mode="json") for name, variable in run.variables.items()
        },
    }


def outputs(run: Run) -> list[Path]:
    """Folds and statistics."""
    return [run.folder / "folds", run.folder / "stats"]


def moments(table: xr.Dataset, name: str, cells: np.ndarray, transform: str) -> Moments:
    """Moments of the transformed values of `cells`, read in blocks."""
    place = np.flatnonzero(np.isin(table["cell"].values, cells))
    law = find_transform(transform)
    parts = []
    for begin in range(0, max(place.size, 1), CELLS_AT_ONCE):
        values = table[name].isel(cell=place[begin : begin + CELLS_AT_ONCE]).values
        lowest = np.nanmin(values) if np.isfinite(values).any() else 0.0
        if law.lowest is not None and lowest < law.lowest:
            raise bad_input(
                name, f"the value {lowest:g}", f"{law.lowest:g} or more, for its transform",
                "Check the source's units and nodata.",
            )  # fmt: skip
        parts.append(accumulate(law.forward(values.astype(np.float64))))
    return merge_all(parts)


def fold_statistics(
    table: xr.Dataset, names: Sequence[str], cells: np.ndarray, laws: dict[str, str]
) -> Normaliser:
    """The scalings of `names` from training cells; `InputError` lists all without a value."""
    return Normaliser.from_moments(
        {name: moments(table, name, cells, laws[name]).to_dict() for name in names}, laws
    )


def main(run: Run) -> dict[str, Any]:
    """Make the folds, check them, and write the statistics of each."""
    config = run.config
    finetune_table = labelled(run, open_cells(run, config.finetune.cube))
    same = config.pretrain.cube == config.finetune.cube
    pretrain_table = (
        finetune_table if same else labelled(run, open_cells(run, config.pretrain.cube))
    )
    inputs = [*config.inputs.forcings, *static_names(run, pretrain_table)]
    target = config.inputs.target
    laws = transforms(run, [*inputs, target])
    result = {}
    for fold in run_folds(run, finetune_table):
        wider = fold if same else carried_fold(fold, finetune_table, pretrain_table)
        narrow = with_target(fold, finetune_table, target)
        _check_sizes(narrow, config.folds.min_cells)
        scaling = fold_statistics(pretrain_table, inputs, wider.train, laws)
        scaling = scaling.merged(fold_statistics(finetune_table, [target], narrow.train, laws))
        wider.save(run.fold(f"pretrain/{fold.name}"))
        narrow.save(run.fold(fold.name))
        write_json(run.stats(fold.name), scaling.to_dict())
        result[fold.name] = {
            part: len(getattr(narrow, part)) for part in ("train", "validation", "test", "dropped")
        }
    return {"folds": result}


def _check_sizes(fold: Fold, least: int) -> None:
    faults = Faults()
    for part, need in (("train", least), ("validation", 1), ("test", 1)):
        count = len(getattr(fold, part))
        if count < need:
            faults.add(
                f"fold {fold.name}: {part}", f"{count} cells with a target", f"at least {need}",
                "Use other regions, fewer folds, or a target that covers them.",
            )  # fmt: skip
    faults.raise_if_any()
