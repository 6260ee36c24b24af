"""The finetuned StefaLand networks of every fold, as an ensemble; each missed one fold."""

from __future__ import annotations

from stefaland.prediction.ensemble import member_folders
from stefaland.prediction.member import Member, load_member
from workflows.context import Run
from workflows.device import best_device
from workflows.folds import fold_names


def members(run: Run) -> list[Member]:
    """The members of every fold, on the best device."""
    count = run.config.finetune.ensemble
    return [
        load_member(folder, best_device())
        for name in fold_names(run)
        for folder in member_folders(run.finetuned("stefaland", name), count)
    ]
