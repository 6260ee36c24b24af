"""Search of settings: the next settings to try, after the scores of those that were tried.

They are proposed by tree-structured Parzen estimators (Bergstra et al. 2011) of the package optuna.
The proposal of a trial is a function of the space, the seed and the trials before it, so that an
interrupted search continues as if it had not been interrupted.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import model_validator

from pipeline.core.errors import bad_input
from pipeline.core.settings import Frozen

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Choice = bool | int | float | str | None
STARTUP = 5
"""Number of trials that are drawn at random, before the scores of others count."""


class Range(Frozen):
    """An interval of numbers; whole ones where both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether numbers are drawn evenly on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low} has no logarithm")
        return self


Space = Mapping[str, tuple[Choice, ...] | Range]
"""The values of each setting, such as `{"optimiser.lr": Range(low=5e-4, high=5e-3, log=True)}`."""


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and their score: NaN where the training failed."""

    settings: Mapping[str, Choice]
    score: float


def require_optuna(where: str) -> None:
    """Raise `InputError` where the package of the search is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise bad_input(
            where,
            "no module optuna",
            "the package optuna",
            "Run `pip install 'stefaland[search]'`.",
        )


def propose(
    space: Space, tried: Sequence[Trial], *, seed: int, lower_is_better: bool
) -> dict[str, Choice]:
    """The settings of the next trial.

    Trials without a score, and those without a value of every setting, teach nothing. Raises
    `InputError` without the package optuna.

    >>> space = {"adapter": ("gated", "none"), "optimiser.lr": Range(low=1e-4, high=1e-2, log=True)}
    >>> first = propose(space, [], seed=0, lower_is_better=True)
    >>> first == propose(space, [], seed=0, lower_is_better=True)
    True
    >>> 1e-4 <= first["optimiser.lr"] <= 1e-2
    True
    """
    require_optuna("search of settings")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A sampler of its own for each trial: the state of one is not kept when a search is killed.
    sampler = optuna.samplers.TPESampler(
        seed=(seed * 1_000_003 + len(tried)) % 2**32, n_startup_trials=STARTUP
    )
    study = optuna.create_study(
        direction="minimize" if lower_is_better else "maximize", sampler=sampler
    )
    known = {name: _distribution(values) for name, values in space.items()}
    for trial in tried:
        if known.keys() <= trial.settings.keys() and math.isfinite(trial.score):
            params = {name: trial.settings[name] for name in known}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=known, value=trial.score)
            )
    return dict(study.ask(known).params)


def _distribution(values: tuple[Choice, ...] | Range) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)
