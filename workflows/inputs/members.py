"""The finetuned StefaLand networks of every fold, as an ensemble; each missed one fold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stefaland.distributed import best_device
from stefaland.prediction.ensemble import member_folders
from stefaland.prediction.member import Member, load_member


def members(folders: Iterable[Path], count: int) -> list[Member]:
    """The `count` members in each fold's folder, on the best device."""
    return [
        load_member(folder, best_device())
        for of_fold in folders
        for folder in member_folders(of_fold, count)
    ]
