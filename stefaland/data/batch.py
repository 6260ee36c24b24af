"""`Batch`, the input of every network, and the protocol of the sources of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from pipeline.core.errors import Faults
from stefaland.data.sampler import Draw


@dataclass(frozen=True)
class Batch:
    """B windows of T time steps, normalised; missing values are NaN (categorical: -1).

    >>> batch = Batch(forcings=torch.zeros(2, 5, 3), statics=torch.zeros(2, 4))
    >>> len(batch)
    2
    """

    forcings: Tensor
    """Forcings [B, T, F], float."""
    statics: Tensor
    """Numeric static attributes [B, S], float."""
    _: KW_ONLY
    categorical: Tensor | None = None
    """Class codes [B, K] from 0, int64; -1 is missing."""
    day_of_year: Tensor | None = None
    """Elapsed fraction of the year [B, T], 0 to 1, float."""
    lonlat: Tensor | None = None
    """Coordinates [B, 2] in degrees east and north, float."""
    target: Tensor | None = None
    """Target [B, T, O], float."""
    features: Tensor | None = None
    """Features [B, T, d] of a frozen encoder, computed before (`training/frozen_features.py`)."""
    cell: Tensor | None = None
    """Cell ids [B], int64, which identify the locations in messages and outputs."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.forcings.ndim != 3:
            faults.add("Batch.forcings", f"shape {tuple(self.forcings.shape)}", "[B, T, F]")
        elif self.statics.ndim != 2 or self.statics.shape[0] != self.forcings.shape[0]:
            faults.add(
                "Batch.statics", f"shape {tuple(self.statics.shape)}", f"[{len(self.forcings)}, S]"
            )
        for name, rank in (
            ("categorical", 2),
            ("day_of_year", 2),
            ("lonlat", 2),
            ("target", 3),
            ("features", 3),
        ):
            value = getattr(self, name)
            if value is not None and (value.ndim != rank or len(value) != len(self.forcings)):
                expected = f"{rank} dims, the first of length {len(self.forcings)}"
                faults.add(f"Batch.{name}", f"shape {tuple(value.shape)}", expected)
        faults.raise_if_any()

    def __len__(self) -> int:
        return self.forcings.shape[0]

    def each(self, function: Callable[..., Tensor], *others: Batch) -> Batch:
        """The batch of what `function` returns for each tensor, and the same of the others.

        >>> one = Batch(forcings=torch.zeros(2, 5, 3), statics=torch.zeros(2, 4))
        >>> len(one.each(lambda *values: torch.cat(values), one))
        4
        """
        made = {
            field.name: function(value, *(getattr(other, field.name) for other in others))
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return Batch(**made)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""
        return self.each(lambda values: values.to(device, non_blocking=non_blocking))


class BatchSource(Protocol):
    """A source of batches: resident (`Windows`) or streamed (`StreamedWindows`)."""

    device: torch.device

    def batches(self, draws: list[Draw]) -> Iterator[Batch]:
        """This rank's part of each draw as a batch on the device."""
