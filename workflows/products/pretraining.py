"""Skills of the pretrained encoders of all folds, beside those of simple references."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.files import read_json


@dataclass(frozen=True)
class PretrainingTable:
    """A table of skills, means over folds, and what they say of each fold's training."""

    columns: list[str]
    """The network and the references."""
    rows: list[dict[str, Any]]
    """`variable` and `values`, texts in the order of the columns."""
    caveats: list[str]
    """A sentence for each fold whose encoder is worse than a reference."""


def pretraining_table(encoders: Path) -> PretrainingTable:
    """The table of the checkpoints in `encoders`, one a fold; empty where they have no skills.

    Imported encoders and those of earlier versions have none.
    """
    skills, caveats = [], []
    for path in sorted(encoders.glob("*/data.json")):
        training = read_json(path).get("training", {})
        if found := training.get("skills"):
            skills.append(found)
        if verdict := training.get("verdict"):
            caveats.append(f"The encoder of fold {path.parent.name} is {verdict}.")
    names = list(dict.fromkeys(name for found in skills for name in found))
    who = list(dict.fromkeys(key for found in skills for name in found for key in found[name]))
    rows = [
        {"variable": name, "values": [_mean(skills, name, key) for key in who]} for name in names
    ]
    return PretrainingTable([key.replace("_", " ") for key in who], rows, caveats)


def _mean(skills: list[dict[str, dict[str, float]]], name: str, key: str) -> str:
    values = [found[name][key] for found in skills if key in found.get(name, {})]
    return f"{np.mean(values):.2f}" if values else ""
