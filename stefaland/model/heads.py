"""From adapted features to the target: decoders over time, and heads that give mean and scale.

Upstream: adapters.py. Downstream: finetuned.py, lstm.py (spec §8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.model.quantiles import LEVELS, MIDDLE, moments
from stefaland.tasks import HEADS

LEAST_SCALE = 1e-3
"""Of a normalised target: keeps the likelihood finite."""
LEAST_STEP = 1e-4
"""Between neighbouring quantiles of a normalised target."""


@dataclass(frozen=True)
class Prediction:
    """Normalised target: mean [B, T, O] and, of heads that know them, its standard deviation and
    its quantiles [B, T, O, Q] at `quantiles.LEVELS`.
    """

    mean: Tensor
    scale: Tensor | None = None
    quantiles: Tensor | None = None

    def cut(self, steps: slice) -> Prediction:
        """The prediction of these time steps."""
        parts = (self.mean, self.scale, self.quantiles)
        return Prediction(*(None if part is None else part[:, steps] for part in parts))  # type: ignore[arg-type]


class PointHead(nn.Module):
    """[B, T, d] → mean."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The prediction, without a scale."""
        return Prediction(self.out(features))


class GaussianHead(nn.Module):
    """[B, T, d] → mean and standard deviation of a normal distribution."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, 2 * n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The prediction with its scale."""
        mean, raw = self.out(features).chunk(2, -1)
        return Prediction(mean, F.softplus(raw) + LEAST_SCALE)


class QuantileHead(nn.Module):
    """[B, T, d] → quantiles that never cross: the median and positive steps away from it."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets * len(LEVELS))

    def forward(self, features: Tensor) -> Prediction:
        """The prediction; mean and scale are those of its quantiles."""
        raw = self.out(features).unflatten(-1, (-1, len(LEVELS)))
        steps = F.softplus(raw) + LEAST_STEP
        middle = raw[..., MIDDLE : MIDDLE + 1]
        below = middle - steps[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
        above = middle + steps[..., MIDDLE + 1 :].cumsum(-1)
        quantiles = torch.cat([below, middle, above], -1)
        return Prediction(*moments(quantiles), quantiles)


class CompositionHead(nn.Module):
    """[B, T, d] → shares of a whole: at least 0, sum 1 over the targets."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The shares; a prediction for a place is their mean over time, which sums to 1 too."""
        return Prediction(self.out(features).softmax(-1))


class ProbabilityHead(nn.Module):
    """[B, T, d] → a chance for each target."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The chances, 0 to 1."""
        return Prediction(self.out(features).sigmoid())


BUILT_IN: dict[str, Callable[[int, int], nn.Module]] = {
    "point": PointHead,
    "gaussian": GaussianHead,
    "quantile": QuantileHead,
    "composition": CompositionHead,
    "probability": ProbabilityHead,
}


def make_head(name: str, d_model: int, n_targets: int) -> nn.Module:
    """The named head; `InputError` for an unknown name.

    >>> make_head("point", 8, 1)(torch.zeros(2, 12, 8)).mean.shape
    torch.Size([2, 12, 1])
    """
    make = HEADS.get(name, "finetune.head").make or BUILT_IN[name]
    return make(d_model, n_targets)


def beside(series: Tensor, statics: Tensor) -> Tensor:
    """[B, T, ...] with statics [B, S] repeated over time behind it."""
    return torch.cat([series, statics[:, None].expand(-1, series.shape[1], -1)], -1)


class ResidualLSTMDecoder(nn.Module):
    """u = Linear([h, x, c]); z = LSTM(u); z + Linear([z, x, c]) (spec §8)."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        wide = d_model + n_forcings + n_statics
        self.before = nn.Linear(wide, d_model)
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)
        self.after = nn.Linear(wide, d_model)

    def forward(self, features: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
        """[B, T, d]."""
        inputs = beside(forcings, statics)
        memory = self.lstm(self.before(torch.cat([features, inputs], -1)))[0]
        return memory + self.after(torch.cat([memory, inputs], -1))


class LinearDecoder(nn.Module):
    """Features as they are: the head alone reads them."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()

    def forward(self, features: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
        """[B, T, d]."""
        return features


DECODERS = {"residual_lstm": ResidualLSTMDecoder, "linear": LinearDecoder}
