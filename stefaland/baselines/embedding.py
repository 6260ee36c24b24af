"""The frozen encoder's embedding of each day, as features of the regressions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stefaland.baselines.features import Array
from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.windows import Windows
from stefaland.model.mae import StefaLand
from stefaland.prediction.distribution import plan_windows

COMPONENTS = 64
"""Number of principal components that are features; each costs the trees as much as a forcing."""
SMALLEST = 1e-6
"""Variance along an axis, as a fraction of the largest, up to which it is left out."""
CELLS = 64
"""Number of cells that are encoded at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedding:
    """Principal components of an encoder's tokens: those of a day, and the mean of the static ones.

    Windows overlap and fade into each other as those of a prediction. The warm-up of a series, and
    cells without any forcing, are NaN.
    """

    encoder: StefaLand
    normaliser: Normaliser
    """Statistics of the encoder's inputs."""
    window: int
    warmup_steps: int
    overlap_steps: int
    cyclic: bool
    device: torch.device | str = "cpu"
    hidden: tuple[str, ...] = ()
    """Inputs of the encoder that are missing in all cells."""
    mean: Array
    """Mean [2 d] of the tokens over the training cells and days."""
    axes: Array
    """Principal axes [2 d, K], each divided by the standard deviation along it."""

    @classmethod
    def fit(
        cls, encoder: StefaLand, normaliser: Normaliser, config: FinetuneConfig, train: CellData,
        device: torch.device | str = "cpu", hidden: tuple[str, ...] = (),
    ) -> Embedding:  # fmt: skip
        """The embedding whose principal components are those of the training cells.

        Raises `InputError` for absent variables, for a series shorter than the window, and for
        inputs without statistics.
        """
        normaliser.require((*encoder.config.forcings, *encoder.config.statics), "embedding")
        width = 2 * encoder.config.d_model
        whole = cls(
            encoder=encoder.to(device).eval().requires_grad_(False),
            normaliser=normaliser,
            window=config.window,
            warmup_steps=0 if config.cyclic else config.warmup_steps,
            overlap_steps=config.overlap_steps,
            cyclic=config.cyclic,
            device=device,
            hidden=hidden,
            mean=np.zeros(width),
            axes=np.eye(width),
        )
        count, total, product = 0, np.zeros(width), np.zeros((width, width))
        for rows in torch.arange(len(train)).split(CELLS):
            tokens = whole.compute(train.take(rows)).reshape(-1, width)
            tokens = tokens[np.isfinite(tokens).all(1)]
            count += len(tokens)
            total, product = total + tokens.sum(0), product + tokens.T @ tokens
        mean = total / max(count, 1)
        variances, axes = np.linalg.eigh(product / max(count, 1) - np.outer(mean, mean))
        # Below, there is nothing but the rounding of single precision.
        kept = np.argsort(variances)[::-1][:COMPONENTS]
        kept = kept[variances[kept] > SMALLEST * variances[kept[0]]]
        return replace(whole, mean=mean, axes=axes[:, kept] / np.sqrt(variances[kept]))

    def compute(self, data: CellData) -> Array:
        """Features [N, T, K] of each cell and time step."""
        known = self.encoder.config
        inputs = data.selected(known.forcings, known.statics, tuple(known.categorical), self.hidden)
        parts = [self._tokens(inputs.take(rows)) for rows in torch.arange(len(data)).split(CELLS)]
        tokens = torch.cat(parts).double().numpy()
        features: Array = (tokens - self.mean) @ self.axes
        return features

    def _tokens(self, inputs: CellData) -> Tensor:
        """Tokens [N, T, 2 d] on the CPU."""
        windows = Windows(
            inputs, self.normaliser, self.window, cyclic=self.cyclic, device=self.device
        )
        rows, steps = torch.arange(len(inputs), device=windows.device), len(inputs.time)
        d = self.encoder.config.d_model
        found = torch.zeros(len(inputs), steps, 2 * d, device=windows.device)
        with torch.inference_mode():
            for stretch in plan_windows(
                steps, self.window, self.warmup_steps, self.cyclic, self.overlap_steps
            ):
                starts = torch.full_like(rows, stretch.start)
                encoded = self.encoder.encode(windows.gather(rows, starts)).float()
                days = encoded[:, : self.window][:, stretch.keep]
                static = encoded[:, self.window :].mean(1, keepdim=True).expand_as(days)
                first = stretch.start + stretch.keep.start
                when = torch.arange(first, first + days.shape[1], device=windows.device) % steps
                weights = torch.tensor(stretch.weights, device=windows.device)[:, None]
                found[:, when] += torch.cat([days, static], -1) * weights
            found[:, : self.warmup_steps] = torch.nan
            found[inputs.forcings.isnan().flatten(1).all(1).to(windows.device)] = torch.nan
        return found.cpu()
