"""The finetuned StefaLand networks of every fold, as an ensemble; each missed one fold."""

from __future__ import annotations

from stefaland.distributed import best_device
from stefaland.prediction.ensemble import member_folders
from stefaland.prediction.member import Member, load_member
from workflows.inputs.folds import fold_names
from workflows.run import Run


def members(run: Run) -> list[Member]:
    """The members of every fold, on the best device."""
    count = run.config.finetune.ensemble
    return [
        load_member(folder, best_device())
        for name in fold_names(run)
        for folder in member_folders(run.finetuned("stefaland", name), count)
    ]
