"""Variants of one run side by side: what a pretext, a source or a budget changes.

`python -m benchmarks.ablation CONFIG --seeds 3,4,5 --models stefaland,random_encoder --metrics
RMSE,ubRMSE --set KEY=VALUE --variant "all sources" --variant "own cells" pretrain.also={}` runs,
for each variant, the stages until pretrain and the sweep with its settings. Variants that change
more than `finetune` or `score` have run folders of their own, named after them. It prints the
scores of all models of all variants on the same days of the same held-out sites, with paired
differences from the first model of the first variant.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table

from stefaland.tasks import values_of
from workflows.commands.sweep import (
    chosen_folds,
    items,
    own_adapters,
    score_texts,
    stack_items,
    sweep,
    sweep_folder,
    variant_scores,
    variant_tables,
)
from workflows.config.load import load_config
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages.order import run_stages
from workflows.stages.unpack import labelled_cells

WITHOUT_PRETRAINING = ("finetune.", "score.")
"""Settings that leave the pretrained encoders as they are."""


def run_of(config: str, settings: Sequence[str], name: str, own: Sequence[str]) -> Run:
    """The run of a variant: that of the config where its encoders are the same."""
    run = Run(load_config(config, [*settings, *own]))
    if all(setting.startswith(WITHOUT_PRETRAINING) for setting in own):
        return run
    folder = f"{run.config.name}_{re.sub(r'[^a-z0-9]+', '_', name.lower())}"
    return Run(load_config(config, [*settings, *own, f"name={folder}"]))


def tables_of(
    run: Run, models: Sequence[str], seeds: Sequence[int], folds: Sequence[str]
) -> dict[str, xr.Dataset]:
    """Held-out predictions of each model of a run, trained where they are not yet."""
    run_stages(run, "check", "pretrain")
    sweep(run, seeds, (), models, folds)
    settings = run.config.finetune
    of_folds = chosen_folds(folds, FoldFiles(run.folder).names())
    adapters = own_adapters(settings, models)
    alone = [model for model in models if model not in settings.stack]
    stacks = {name: of for name, of in settings.stack.items() if name in models}
    todo = [*items(of_folds, alone, adapters, seeds),
            *stack_items(of_folds, stacks, adapters, seeds)]  # fmt: skip
    cells, targets = labelled_cells(run), run.config.inputs.targets
    is_series = values_of(settings.task) == "quantity"
    return variant_tables(cells, targets, is_series, todo, sweep_folder(run))


def show(found: dict[str, xr.Dataset], task: str, metric: str, seed: int) -> None:
    """Print one score of all variants and their models."""
    scores: dict[str, Any] = variant_scores(found, task, metric, seed)
    table = Table("variant, model", f"median {metric} by seed", "mean ± std",
                  "of the mean prediction", "minus the first (95 %)")  # fmt: skip
    for name in scores["order"]:
        table.add_row(name, *score_texts(scores["variants"][name]))
    Console(width=160).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folds", default="")
    parser.add_argument("--models", default="stefaland")
    parser.add_argument("--metrics", default="RMSE,ubRMSE,absolute_bias")
    parser.add_argument("--variant", action="append", nargs="+", required=True,
                        metavar=("NAME", "KEY=VALUE"))  # fmt: skip
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    folds = [fold for fold in options.folds.split(",") if fold]
    found: dict[str, xr.Dataset] = {}
    for name, *own in options.variant:
        run = run_of(options.config, options.settings, name, own)
        of_run = tables_of(run, options.models.split(","), seeds, folds)
        found |= {f"{name}, {model}": table for model, table in of_run.items()}
    for metric in options.metrics.split(","):
        show(found, run.config.finetune.task, metric, run.config.seed)


if __name__ == "__main__":
    main()
