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

import xarray as xr
from rich.console import Console

from workflows.commands.sweep import score_table, swept_tables, variant_scores
from workflows.config.load import load_config
from workflows.run import Run
from workflows.stages.order import run_stages

WITHOUT_PRETRAINING = ("finetune.", "score.")
"""Settings that leave the pretrained encoders as they are."""


def run_of(config: str, settings: Sequence[str], name: str, own: Sequence[str]) -> Run:
    """The run of a variant: that of the config where its encoders are the same."""
    run = Run(load_config(config, [*settings, *own]))
    if all(setting.startswith(WITHOUT_PRETRAINING) for setting in own):
        return run
    folder = f"{run.config.name}_{re.sub(r'[^a-z0-9]+', '_', name.lower())}"
    return Run(load_config(config, [*settings, *own, f"name={folder}"]))


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
        run_stages(run, "check", "pretrain")
        of_run = swept_tables(run, seeds, (), options.models.split(","), folds)
        assert of_run is not None
        found |= {f"{name}, {model}": table for model, table in of_run.items()}
    for metric in options.metrics.split(","):
        scores = variant_scores(found, run.config.finetune.task, metric, run.config.seed)
        Console(width=160).print(score_table(scores, "", what="variant, model"))


if __name__ == "__main__":
    main()
