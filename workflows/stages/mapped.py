"""The choice of the model that a run maps, from its settings and its validation scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.open import open_cube
from stefaland.tasks import values_of
from workflows.config.ranking import BEST, ScoreSettings
from workflows.inputs import cells
from workflows.inputs.choice import Choice, choose
from workflows.inputs.folds import FoldFiles, without_sparse
from workflows.inputs.map_model import unmappable
from workflows.products.heldout import VALIDATION, Stores, heldout_static
from workflows.products.static_scores import static_predicted_by_all, static_scorecard
from workflows.products.target_scores import in_its_spread, target_scorecards, target_tables
from workflows.run import Run
from workflows.stages.unpack import labels


def mapped_model(run: Run) -> Choice:
    """The model that the run maps; `InputError` where the wanted one cannot be mapped."""
    config, folds = run.config, FoldFiles(run.folder).names()
    opened = [open_cube(run.cube(cube)) for cube in config.predict.cubes]
    times = [ds["time"].values for ds in opened if "time" in ds.coords]

    def why_not(model: str) -> str:
        return unmappable([run.finetuned(model, fold) for fold in folds], times)

    ranking, score = _ranking(run, folds) if config.predict.model == BEST else ([], "")
    return choose(config.predict.model, ranking, score, why_not)


def _ranking(run: Run, folds: list[str]) -> tuple[list[str], str]:
    """The models that predicted validation cells in every fold that has any, the best first."""
    config, files = run.config, FoldFiles(run.folder)
    validated = [fold for fold in folds if len(files.fold(fold).validation)]
    models = [
        model
        for model in config.finetune.models
        if validated
        and all((run.finetuned(model, fold) / VALIDATION).exists() for fold in validated)
    ]
    if not models:
        return [], ""
    if len(models) == 1:
        return models, ""
    stores = {
        fold: {model: run.finetuned(model, fold) / VALIDATION for model in models}
        for fold in validated
    }
    used = np.unique(np.concatenate([files.fold(fold).validation for fold in validated]))
    table = cells.labelled(
        cells.open_cells(run.cube(config.finetune.cube), config.inputs),
        labels(run, config.finetune.cube),
    )
    targets = config.inputs.targets
    known = without_sparse(table[list(targets)].sel(cell=used).load(), targets, config.folds)
    return validation_ranking(
        known,
        targets,
        stores,
        config.finetune.task,
        ScoreSettings(metric=config.predict.best_by, over="pooled"),
        config.seed,
    )


def validation_ranking(
    observed: xr.Dataset, targets: Sequence[str], stores: Stores, task: str,
    settings: ScoreSettings, seed: int,
) -> tuple[list[str], str]:  # fmt: skip
    """Models by their score on validation cells, the best first, and the name of that score.

    `observed` holds the targets of these cells, with their labels. Static targets are ranked as in
    their scorecard.
    """
    card = validation_card(observed, targets, stores, task, settings, seed)
    rank_by = card["rank_by"]
    over = "median" if rank_by["over"] == "sites" else "pooled"
    score = f"{over} {rank_by['metric']}"
    if "ranking_of_targets" in card:
        return card["ranking_of_targets"], f"the mean rank of {len(targets)} targets in {score}"
    return card["ranking"], score


def validation_card(
    observed: xr.Dataset, targets: Sequence[str], stores: Stores, task: str,
    settings: ScoreSettings, seed: int, in_spreads: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The scorecard of models on validation cells, whose targets and labels `observed` holds.

    With `in_spreads`, values of a quantity are in standard deviations of its observations there,
    so that scores of several are comparable.
    """
    if values_of(task) == "quantity":
        tables = target_tables(observed, targets, stores)
        if in_spreads:
            tables = {name: in_its_spread(table) for name, table in tables.items()}
        return target_scorecards(tables, dict.fromkeys(targets, ""), settings, seed)
    static, _ = static_predicted_by_all(heldout_static(observed, targets, stores))
    return static_scorecard(static, task, seed)
