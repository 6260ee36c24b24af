"""What a target is (a quantity, a composition or a probability), and what follows from it.

Tasks, heads and losses by name are registries here, below the settings that name them and without
torch: the modules of the built-in heads are in model/heads.py, their losses in model/losses.py.
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
    """What a target is, and the heads and losses that fit it, the default first."""

    heads: tuple[str, ...]
    losses: tuple[str, ...]
    is_scaled: bool
    """Whether the network sees the target normalised."""
    values: Values = "quantity"
    """A quantity is predicted as a series and calibrated by its spread or quantiles. The fractions
    of a composition, and a probability, are one value a site, calibrated by a temperature."""


@dataclass(frozen=True)
class Head:
    """The last layer of a network: which tasks it is for, and how it is made."""

    make: Callable[[int, int], nn.Module] | None = None
    """(d_model, n_targets) → module from features [B, T, d_model] to a `Prediction` with
    n_targets. None of the built-in heads, which `make_head` knows."""
    tasks: tuple[str, ...] = ()
    """Tasks that it fits, besides those that name it themselves."""
    loss: str | None = None
    """Its default loss; None is that of the task."""
    has_quantiles: bool = False
    """Whether its predictions have quantiles at `quantiles.LEVELS`."""


@dataclass(frozen=True)
class Loss:
    """What finetuning minimises: which tasks and heads it is for, and its function."""

    function: Callable[[Any, Tensor, Tensor], Tensor] | None = None
    """(`Prediction`, target [B, T, O], standard deviation of each site [B, 1, O]) → mean over the
    targets that are not NaN (`losses.masked_mean`). None of the built-in losses, which
    `finetune_loss` knows."""
    tasks: tuple[str, ...] = ()
    """Tasks that it fits, besides those that name it themselves."""
    heads: tuple[str, ...] = ()
    """The only heads whose predictions it can judge; empty where it judges all of its tasks."""


TASKS: Registry[Task] = Registry("task", "stefaland.tasks")
HEADS: Registry[Head] = Registry("head", "stefaland.heads")
LOSSES: Registry[Loss] = Registry("loss", "stefaland.losses")

TASKS.register(
    "regression",
    Task(
        ("gaussian", "point", "quantile"),
        ("gaussian", "mse", "rmse", "nse", "beta_gaussian", "pinball"),
        True,
    ),
)
TASKS.register("composition", Task(("composition",), ("composition",), False, "composition"))
TASKS.register("probability", Task(("probability",), ("binary",), False, "probability"))
for _name in ("gaussian", "point", "composition", "probability"):
    HEADS.register(_name, Head())
HEADS.register("quantile", Head(loss="pinball", has_quantiles=True))
for _name in ("gaussian", "beta_gaussian", "mse", "rmse", "nse", "composition", "binary"):
    LOSSES.register(_name, Loss())
LOSSES.register("pinball", Loss(heads=("quantile",)))

TaskName = Annotated[str, registered(TASKS)]
HeadName = Annotated[str, registered(HEADS)]
LossName = Annotated[str, registered(LOSSES)]


def values_of(task: str) -> Values:
    """What the values of the named task are."""
    return TASKS.get(task).values


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Finetuning settings with the task's head and the head's loss where they are not set.

    Settings that name no task or head are returned without: they are refused one by one.
    """
    with suppress(InputError):
        task = TASKS.get(str(settings.get("task", "regression")))
        head = str(settings.get("head", task.heads[0]))
        loss = HEADS.get(head).loss or task.losses[0]
        return {"head": head, "loss": loss, **settings}
    return settings


def disagreement(task: str, head: str, loss: str) -> str:
    """What is wrong with this head and loss for the task; empty where nothing is."""
    known = TASKS.get(task)
    wrong = []
    if head not in known.heads and task not in HEADS.get(head).tasks:
        wrong.append(f'head "{head}" is none of {", ".join(_fitting(task, known.heads, HEADS))}')
    if loss not in known.losses and task not in LOSSES.get(loss).tasks:
        wrong.append(f'loss "{loss}" is none of {", ".join(_fitting(task, known.losses, LOSSES))}')
    heads = LOSSES.get(loss).heads
    if heads and head not in heads:
        wrong.append(f'loss "{loss}" is of head "{" or ".join(heads)}", not of "{head}"')
    return f"for task {task}, {' and '.join(wrong)}" if wrong else ""


def _fitting(task: str, own: Sequence[str], registry: Registry[Head] | Registry[Loss]) -> list[str]:
    """Names of the parts that fit a task: its own, and those that name it."""
    names = [*own]
    for name in registry.names():
        # A package that cannot be imported must not hide what is wrong with the settings.
        with suppress(InputError):
            names += [name] * (name not in own and task in registry.get(name).tasks)
    return names


def possible_values(task: str, values: NDArray[Any]) -> NDArray[Any]:
    """Predictions [..., O] as values the task allows, NaN where one is missing.

    Shares are cut at 0 and scaled to sum to 1 (equal shares where nothing is left), chances cut to
    0..1. Network heads give such values already; a regression of each share does not.
    """
    kind = values_of(task)
    if kind == "quantity":
        return values
    if kind == "probability":
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
    known, kind = ~np.isnan(values).any(-1), values_of(task)
    if kind == "probability":
        return known & ~np.isin(values, (0.0, 1.0)).all(-1), "0 or 1"
    if kind == "composition":
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
