"""What a target is (a quantity, shares of a whole, or a chance), and what follows from it.

Downstream: config.py checks head and loss against the task, finetune.py scales the target by it,
and predictions of any model are brought among the values that the task allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import bad_input

TaskName = Literal["regression", "composition", "probability"]
HeadName = Literal["gaussian", "point", "quantile", "composition", "probability"]


@dataclass(frozen=True)
class Task:
    """Heads and losses that fit the task, the default first."""

    heads: tuple[str, ...]
    losses: tuple[str, ...]
    is_scaled: bool
    """Whether the network sees the target normalised."""


TASKS: dict[str, Task] = {
    "regression": Task(
        ("gaussian", "point", "quantile"),
        ("gaussian", "mse", "rmse", "nse", "beta_gaussian", "pinball"),
        True,
    ),
    "composition": Task(("composition",), ("composition",), False),
    "probability": Task(("probability",), ("binary",), False),
}


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Finetuning settings with the task's head and the head's loss where they are not given."""
    task = TASKS.get(str(settings.get("task", "regression")))
    if task is None:
        return settings
    head = str(settings.get("head", task.heads[0]))
    loss = "pinball" if head == "quantile" else task.losses[0]
    return {"head": head, "loss": loss, **settings}


def disagreement(task: str, head: str, loss: str) -> str:
    """What is wrong with this head and loss for the task; empty where nothing is."""
    known = TASKS[task]
    wrong = [f'head "{head}" is none of {", ".join(known.heads)}'] * (head not in known.heads)
    wrong += [f'loss "{loss}" is none of {", ".join(known.losses)}'] * (loss not in known.losses)
    if loss == "pinball" and head != "quantile":
        wrong.append(f'loss "pinball" is of head "quantile", not of "{head}"')
    return f"for task {task}, {' and '.join(wrong)}" if wrong else ""


def possible_values(task: str, values: NDArray[Any]) -> NDArray[Any]:
    """Predictions [..., O] as values the task allows, NaN where one is missing.

    Shares are cut at 0 and scaled to sum to 1 (equal shares where nothing is left), chances cut to
    0..1. Network heads give such values already; a regression of each share does not.
    """
    if task == "regression":
        return values
    if task == "probability":
        return np.clip(values, 0.0, 1.0)
    shares = np.maximum(values.astype(np.float64), 0.0)
    total = shares.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.where(total > 0, shares / total, 1.0 / values.shape[-1])
    return np.where(np.isnan(total), np.nan, whole).astype(values.dtype)


def impossible_targets(
    task: str, values: NDArray[Any], tolerance: float
) -> tuple[NDArray[np.bool_], str]:
    """[N] which targets [N, O] the task cannot have, and what it expects.

    Shares must be at least 0 and sum to 1 within `tolerance`, classes 0 or 1; missing is possible.
    """
    known = ~np.isnan(values).any(-1)
    if task == "probability":
        return known & ~np.isin(values, (0.0, 1.0)).all(-1), "0 or 1"
    if task == "composition":
        wrong = (values < 0).any(-1) | (np.abs(values.sum(-1) - 1.0) > tolerance)
        return known & wrong, f"shares of at least 0 whose sum is within {tolerance:g} of 1"
    return np.zeros(len(values), bool), "any value"


def check_target(
    task: str, values: NDArray[Any], names: Sequence[str], sites: NDArray[Any], tolerance: float
) -> None:
    """`InputError` with the count and ids of the sites [N] whose target [N, O] is impossible."""
    wrong, expected = impossible_targets(task, values, tolerance)
    if wrong.any():
        ids = ", ".join(str(site) for site in sites[wrong][:5])
        worst = np.array2string(values[wrong][0], precision=3)
        raise bad_input(
            f"target {', '.join(names)}",
            f"{worst} at the first of {int(wrong.sum())} sites ({ids}"
            f"{', …' if wrong.sum() > 5 else ''})", expected,
            "Check units (percent for fraction), or leave these sites out with "
            "inputs.exclude_impossible: true.",
        )  # fmt: skip
