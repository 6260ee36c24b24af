"""Features of a frozen encoder, computed once for each window instead of in every epoch.

They are those of the inputs as they are: noise on static attributes (`static_noise`) is for the
trained parts alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from stefaland.config import FinetuneConfig
from stefaland.data.batch import Batch, BatchSource
from stefaland.data.mixture import MixedSampler
from stefaland.data.sampler import Draw, Sampler
from stefaland.distributed import free_memory, world_size
from stefaland.model.finetuned import FinetunedModel

MEMORY_SHARE = 0.25
"""Fraction of the free memory that features may take."""
WINDOWS_AT_ONCE = {"cpu": 8, "cuda": 256}
"""Number of windows that the encoder reads together. It is always the same, the last window being
repeated: the bits of a window then do not depend on which features were known before."""

Window = tuple[int, int]
"""Row and first step of a window."""


class FrozenFeatures:
    """Batches of `source` with features [B, T, d] of the model's frozen encoder.

    Those of `windows`, or without it those of all, are kept; others are computed each time.
    """

    def __init__(
        self, source: BatchSource, model: FinetunedModel, windows: frozenset[Window] | None = None
    ) -> None:
        self.source, self.model, self.windows = source, model, windows
        self.device = source.device
        self._kept: dict[Window, Tensor] = {}

    def batches(self, draws: list[Draw]) -> Iterator[Batch]:
        """This rank's part of each draw as a batch."""
        for draw, batch in zip(draws, self.source.batches(draws), strict=True):
            # Not in inference mode, whose tensors are useless in training later.
            with torch.inference_mode(False), torch.no_grad():
                found = self._features(batch, _windows(draw))
            yield replace(batch, features=found)

    def _features(self, batch: Batch, wanted: list[Window]) -> Tensor:
        known = {window: self._kept[window] for window in wanted if window in self._kept}
        new = [i for i, window in enumerate(wanted) if window not in known]
        size = WINDOWS_AT_ONCE["cuda" if self.device.type == "cuda" else "cpu"]
        for begin in range(0, len(new), size):
            part = new[begin : begin + size]
            padded = torch.tensor(part + part[-1:] * (size - len(part)), device=self.device)
            rows = batch.each(partial(torch.index_select, dim=0, index=padded))
            found = self.model.features(rows)
            known |= {wanted[i]: value for i, value in zip(part, found, strict=False)}
        for window, value in known.items():
            if window not in self._kept and (self.windows is None or window in self.windows):
                self._kept[window] = value.clone()
        return torch.stack([known[window] for window in wanted])


def with_frozen_features(
    source: BatchSource, model: torch.nn.Module, sampler: Sampler | MixedSampler,
    validation: list[Draw], config: FinetuneConfig,
) -> BatchSource:  # fmt: skip
    """The source with features of the model's encoder where that is frozen.

    Features of validation windows, which are the same in each epoch, are kept where they fit in
    memory, and those of training windows where these are few (`start_every`, periodic years).
    Inputs that are removed at random change features, which are then computed with them.
    """
    if not isinstance(model, FinetunedModel) or not model.is_frozen or config.missing_share > 0:
        return source
    size = 4 * config.window * model.model_config.d_model
    limit = MEMORY_SHARE * free_memory(source.device) / world_size() / size
    held = frozenset(window for draw in validation for window in _windows(draw))
    if isinstance(sampler, Sampler) and sampler.windows + len(held) <= limit:
        return FrozenFeatures(source, model)
    return FrozenFeatures(source, model, held if len(held) <= limit else frozenset())


def _windows(draw: Draw) -> list[Window]:
    rows, starts = draw.rows[draw.part].tolist(), draw.starts[draw.part].tolist()
    return list(zip(rows, starts, strict=True))
