"""The stacks of all folds as the model of a map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from stefaland.prediction.distribution import Distribution, combine
from stefaland.prediction.stack import Stack
from stefaland.tasks import possible_values

Tables = Callable[[Iterable[tuple[Any, Any, None]]], Iterator[tuple[Any, Any]]]
"""Function that predicts keyed cells."""


class Mapped(Protocol):
    """A model that makes a map."""

    @property
    def static_names(self) -> tuple[str, ...]:
        """The static attributes that it reads."""

    @property
    def has_quantiles(self) -> bool:
        """Whether the prediction has quantiles."""

    def boundaries(self, n_steps: int) -> list[int]:
        """Steps of a series at which a window begins or ends to count."""

    def predictor(
        self, task: str, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> Tables:
        """The function that predicts tables of cells."""


@dataclass(frozen=True)
class StackedMapModel:
    """The stacks of all folds as an equal mixture, each of its own models."""

    stacks: Sequence[Stack]
    """The stack of each fold, without models of weight 0."""
    models: Sequence[Sequence[Mapped]]
    """The models of each fold, in the order of its stack."""

    @property
    def _all(self) -> list[Mapped]:
        return [model for of_fold in self.models for model in of_fold]

    @property
    def static_names(self) -> tuple[str, ...]:
        """The static attributes that the models read."""
        return tuple(dict.fromkeys(name for model in self._all for name in model.static_names))

    @property
    def has_quantiles(self) -> bool:
        """Whether the prediction has quantiles: a stack has mean and spread alone."""
        return False

    def boundaries(self, n_steps: int) -> list[int]:
        """Steps of a series at which a window of any model begins or ends to count."""
        return sorted({step for model in self._all for step in model.boundaries(n_steps)})

    def predictor(
        self, task: str, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> Tables:
        """The function that predicts tables of cells, one table at a time."""
        predict = [
            [model.predictor(task, batch_size, device, dtype) for model in of_fold]
            for of_fold in self.models
        ]

        def stacked(tables: Iterable[tuple[Any, Any, None]]) -> Iterator[tuple[Any, Any]]:
            for table in tables:
                found = [[_only(one, table) for one in of_fold] for of_fold in predict]
                yield table[0], self._combined(task, found)

        return stacked

    def _combined(self, task: str, found: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Arrays `mean`, `spread` and `flag` of those of the models of each fold."""
        distributions = []
        for stack, of_models in zip(self.stacks, found, strict=True):
            parts = (np.stack([np.asarray(one[name], np.float64) for one in of_models])
                     for name in ("mean", "spread"))  # fmt: skip
            mean, spread = map(torch.from_numpy, stack.predict(*parts))
            distributions.append(Distribution(mean, spread))
        combined = combine(distributions)
        # Outside the training range is a cell that is so for all models; the other flags agree.
        flag = np.min([one["flag"] for of_models in found for one in of_models], 0)
        return {**combined, "mean": possible_values(task, combined["mean"]), "flag": flag}


def _only(predict: Tables, table: tuple[Any, Any, None]) -> Any:
    ((_, found),) = predict([table])
    return found
