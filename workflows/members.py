"""The finetuned StefaLand of every fold, as an ensemble whose members each missed one fold."""

from __future__ import annotations

from stefaland.finetune import load_member
from stefaland.predict import Member
from workflows.context import Run
from workflows.device import best_device
from workflows.folds import fold_names


def members(run: Run) -> list[Member]:
    """One member a fold, on the best device."""
    return [
        load_member(run.finetuned("stefaland", name), best_device()) for name in fold_names(run)
    ]
