"""The finetuned networks of all folds as the members of one ensemble."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stefaland.distributed import best_device
from stefaland.prediction.ensemble import member_folders
from stefaland.prediction.member import Member, load_member


def members(folders: Iterable[Path], count: int) -> list[Member]:
    """The `count` members of each fold's folder, on the best device."""
    return [
        load_member(folder, best_device())
        for fold_folder in folders
        for folder in member_folders(fold_folder, count)
    ]
