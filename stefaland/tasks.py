"""Registries of tasks, heads and losses, and rules for their combination.

They are below the settings that name them and do not import torch: the modules of the built-in
heads are in `model/heads.py`, their losses in `model/losses.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError, bad_input
from pipeline.core.plugins import Registry, registered

if TYPE_CHECKING:
    from torch import Tensor, nn

Values = Literal["quantity", "composition", "probability"]


@dataclass(frozen=True)
class Task:
    """A kind of target, and the heads and losses that fit it, the default first."""

    heads: tuple[str, ...]
    losses: tuple[str, ...]
    is_scaled: bool
    """Whether the network predicts the normalised target."""
    values: Values = "quantity"
    """Kind of values. A quantity is predicted as a series and calibrated by its spread or
    quantiles; compositions and probabilities have one value per site and are calibrated by a
    temperature."""


@dataclass(frozen=True)
class Head:
    """The last layer of a network: how it is made, and which tasks it fits."""

    make: Callable[[int, int], nn.Module] | None = None
    """Function of (d_model, n_targets) that makes a module from features [B, T, d_model] to a
    `Prediction` of n_targets. It is None for the built-in heads, which `make_head` makes."""
    tasks: tuple[str, ...] = ()
    """Tasks that it fits, in addition to those that list it."""
    loss: str | None = None
    """Default loss; None for that of the task."""
    has_quantiles: bool = False
    """Whether predictions have quantiles at `quantiles.LEVELS`."""


@dataclass(frozen=True)
class Loss:
    """A loss of finetuning: its function, and which tasks and heads it fits."""

    function: Callable[[Any, Tensor, Tensor], Tensor] | None = None
    """Function of (`Prediction`, target [B, T, O], standard deviation of each site [B, 1, O]) that
    returns the mean over targets that are not NaN (`losses.masked_mean`). It is None for the
    built-in losses, which `finetune_loss` returns."""
    tasks: tuple[str, ...] = ()
    """Tasks that it fits, in addition to those that list it."""
    heads: tuple[str, ...] = ()
    """The only heads that it fits; empty for all heads of its tasks."""


TASKS: Registry[Task] = Registry("task", "stefaland.tasks")
HEADS: Registry[Head] = Registry("head", "stefaland.heads")
LOSSES: Registry[Loss] = Registry("loss", "stefaland.losses")

TASKS.register(
    "regression",
    Task(
        ("gaussian", "point", "quantile", "hbv"),
        ("gaussian", "mse", "rmse", "nse", "beta_gaussian", "pinball"),
        True,
    ),
)
TASKS.register("composition", Task(("composition",), ("composition",), False, "composition"))
TASKS.register("probability", Task(("probability",), ("binary",), False, "probability"))
for _name in ("gaussian", "point", "composition", "probability", "hbv"):
    HEADS.register(_name, Head())
HEADS.register("quantile", Head(loss="pinball", has_quantiles=True))
for _name in ("gaussian", "beta_gaussian", "mse", "rmse", "nse", "composition", "binary"):
    LOSSES.register(_name, Loss())
LOSSES.register("pinball", Loss(heads=("quantile",)))

TaskName = Annotated[str, registered(TASKS)]
HeadName = Annotated[str, registered(HEADS)]
LossName = Annotated[str, registered(LOSSES)]


def values_of(task: str) -> Values:
    """Kind of values of the named task; raises `InputError` for an unknown name."""
    return TASKS.get(task).values


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Finetuning settings, completed by the task's default head and the head's default loss.

    Settings with an unknown task or head are returned unchanged: each is refused later.
    """
    with suppress(InputError):
        task = TASKS.get(str(settings.get("task", "regression")))
        head = str(settings.get("head", task.heads[0]))
        loss = HEADS.get(head).loss or task.losses[0]
        return {"head": head, "loss": loss, **settings}
    return settings


def disagreement(task: str, head: str, loss: str) -> str:
    """Message of what does not fit between task, head and loss; empty where all fit."""
    known = TASKS.get(task)
    wrong = []
    if head not in known.heads and task not in HEADS.get(head).tasks:
        wrong.append(f'head "{head}" is none of {", ".join(_fitting(task, known.heads, HEADS))}')
    if loss not in known.losses and task not in LOSSES.get(loss).tasks:
        wrong.append(f'loss "{loss}" is none of {", ".join(_fitting(task, known.losses, LOSSES))}')
    heads = LOSSES.get(loss).heads
    if heads and head not in heads:
        wrong.append(f'loss "{loss}" requires head "{" or ".join(heads)}", not "{head}"')
    return f"for task {task}, {' and '.join(wrong)}" if wrong else ""


def _fitting(
    task: str, built_in: Sequence[str], registry: Registry[Head] | Registry[Loss]
) -> list[str]:
    """Names of the parts that fit a task: those that it lists, and those that list it."""
    names = [*built_in]
    for name in registry.names():
        # A package that cannot be imported must not hide faults of the settings.
        with suppress(InputError):
            names += [name] * (name not in built_in and task in registry.get(name).tasks)
    return names


def possible_values(task: str, values: NDArray[Any]) -> NDArray[Any]:
    """Predictions [..., O] as values that the task allows; NaN where one is missing.

    Fractions are cut at 0 and scaled to sum to 1 (equal fractions where all are 0), probabilities
    are cut to 0 to 1. Heads of networks predict such values already; a regression of each fraction
    does not.
    """
    kind = values_of(task)
    if kind == "quantity":
        return values
    if kind == "probability":
        return np.clip(values, 0.0, 1.0)
    fractions = np.maximum(values.astype(np.float64), 0.0)
    total = fractions.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.where(total > 0, fractions / total, 1.0 / values.shape[-1])
    return np.where(np.isnan(total), np.nan, whole).astype(values.dtype)


def impossible_targets(
    task: str, values: NDArray[Any], tolerance: float
) -> tuple[NDArray[np.bool_], str]:
    """Mask [N] of the targets [N, O] that are impossible for the task, and what it expects.

    Fractions must be at least 0 and sum to 1 within `tolerance`, probabilities 0 or 1; missing
    targets are possible.
    """
    known, kind = ~np.isnan(values).any(-1), values_of(task)
    if kind == "probability":
        return known & ~np.isin(values, (0.0, 1.0)).all(-1), "0 or 1"
    if kind == "composition":
        wrong = (values < 0).any(-1) | (np.abs(values.sum(-1) - 1.0) > tolerance)
        return known & wrong, f"fractions of at least 0 whose sum is within {tolerance:g} of 1"
    return np.zeros(len(values), bool), "any value"


def check_target(
    task: str, values: NDArray[Any], names: Sequence[str], sites: NDArray[Any], tolerance: float
) -> None:
    """Raise `InputError` with number and ids of the sites [N] with impossible targets [N, O]."""
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
