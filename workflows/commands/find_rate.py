"""The range test of pretraining's learning rate: `stefaland find-rate CONFIG`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from pipeline.core.errors import bad_input, nearest_name
from stefaland.distributed import best_device
from stefaland.training.rate_finder import find_rate
from workflows.console import REPORT
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages.order import require_finished
from workflows.stages.pretrain import further_cells, pretraining_inputs
from workflows.stages.unpack import check_run_folds

SHOWN = 12
"""Number of rates in the printed table."""


def find_learning_rate(
    run: Run, fold: str | None, low: float, high: float, steps: int
) -> dict[str, Any]:
    """Try rising learning rates in pretraining on a fold, by default the first; writes no file.

    Returns the rates, the smoothed losses and the suggested rate.
    """
    if run.config.pretrain.from_checkpoint is not None:
        raise bad_input("stefaland find-rate", "pretrain.from_checkpoint",
                        "a run that pretrains an encoder")  # fmt: skip
    if not low < high:
        raise bad_input("--low", f"{low} and --high {high}", "a low rate below the high one")
    require_finished(run, "stats", "pretrain", "find-rate", "folds and statistics")
    check_run_folds(run)
    files = FoldFiles(run.folder)
    name = fold or files.names()[0]
    if name not in files.names():
        known = files.names()
        raise bad_input("--fold", f'"{name}"', f"one of {', '.join(known)}",
                        nearest_name(name, known))  # fmt: skip
    inputs = pretraining_inputs(run)
    found = find_rate(
        inputs.data, files.pretraining_fold(name), inputs.network, inputs.recipe,
        files.normaliser(name), also=further_cells(run, inputs, name), device=best_device(),
        low=low, high=high, steps=steps,
    )  # fmt: skip
    if not found.rates:
        raise bad_input("stefaland find-rate", "a loss that is not finite at the lowest rate",
                        "a finite loss", "Lower --low, or check the inputs.")  # fmt: skip
    table = Table("learning rate", "smoothed loss", title=f"{run.config.name}, fold {name}",
                  caption=f"--set pretrain.optimiser.lr={found.suggested:.2g}")  # fmt: skip
    for i in range(0, len(found.rates), max(1, len(found.rates) // SHOWN)):
        table.add_row(f"{found.rates[i]:.2g}", f"{found.losses[i]:.4f}")
    REPORT.print(table)
    return {
        "fold": name, "rates": list(found.rates), "losses": list(found.losses),
        "suggested": found.suggested,
    }  # fmt: skip
