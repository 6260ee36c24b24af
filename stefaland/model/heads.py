"""Decoders over time, and heads that map features to the target's predictive distribution.

The finetuned network and the network baselines have the same heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.data.batch import Batch
from stefaland.model.process import COMPONENTS, HBV
from stefaland.model.quantiles import LEVELS, MIDDLE, moments
from stefaland.tasks import HEADS

MIN_SCALE = 1e-3
"""Smallest standard deviation of a normalised target, which keeps the likelihood finite."""
MIN_STEP = 1e-4
"""Smallest distance between neighbouring quantiles of a normalised target."""


@dataclass(frozen=True)
class Prediction:
    """Predictive distribution of the normalised target: mean [B, T, O], and where the head has them
    the standard deviation [B, T, O] and quantiles [B, T, O, Q] at `quantiles.LEVELS`.
    """

    mean: Tensor
    scale: Tensor | None = None
    quantiles: Tensor | None = None

    def of_target(self, number: int) -> Prediction:
        """The prediction of one target."""
        one = slice(number, number + 1)
        parts = (self.mean, self.scale, self.quantiles)
        return Prediction(*(None if part is None else part[:, :, one] for part in parts))  # type: ignore[arg-type]

    def cut(self, steps: slice) -> Prediction:
        """The prediction of these time steps."""
        parts = (self.mean, self.scale, self.quantiles)
        return Prediction(*(None if part is None else part[:, steps] for part in parts))  # type: ignore[arg-type]


class PointHead(nn.Module):
    """A head from features [B, T, d] to the mean."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The prediction, without a standard deviation."""
        return Prediction(self.out(features))


class GaussianHead(nn.Module):
    """A head from features [B, T, d] to mean and standard deviation of a normal distribution."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, 2 * n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The prediction with its standard deviation."""
        mean, raw = self.out(features).chunk(2, -1)
        return Prediction(mean, F.softplus(raw) + MIN_SCALE)


class QuantileHead(nn.Module):
    """A head from features [B, T, d] to quantiles that never cross.

    They are the median and positive steps away from it.
    """

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets * len(LEVELS))

    def forward(self, features: Tensor) -> Prediction:
        """The prediction; mean and standard deviation are those of its quantiles."""
        raw = self.out(features).unflatten(-1, (-1, len(LEVELS)))
        steps = F.softplus(raw) + MIN_STEP
        middle = raw[..., MIDDLE : MIDDLE + 1]
        below = middle - steps[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
        above = middle + steps[..., MIDDLE + 1 :].cumsum(-1)
        quantiles = torch.cat([below, middle, above], -1)
        return Prediction(*moments(quantiles), quantiles)


class CompositionHead(nn.Module):
    """A head from features [B, T, d] to a composition: fractions of at least 0 that sum to 1."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The fractions [B, T, O]; a location's prediction is their mean over time, whose sum is 1
        too.
        """
        return Prediction(self.out(features).softmax(-1))


class ProbabilityHead(nn.Module):
    """A head from features [B, T, d] to the probability of each target."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """The probabilities [B, T, O], 0 to 1."""
        return Prediction(self.out(features).sigmoid())


class HBVHead(nn.Module):
    """A head from features [B, T, d] and the batch to a distribution around HBV's streamflow.

    The features decide HBV's parameters and, with its streamflow, the spread: that of a normal
    distribution, or the distances of quantiles, as the head named `around` predicts them.
    """

    def __init__(
        self, d_model: int, n_targets: int, forcings: Sequence[str] = (), *,
        around: str = "gaussian", components: int = COMPONENTS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hbv = HBV(d_model, forcings, components)
        self.around = make_head(around, d_model + 1, n_targets)

    def forward(self, features: Tensor, batch: Batch) -> Prediction:
        """The prediction; its mean, or its median of quantiles, is HBV's streamflow."""
        flow = self.hbv(features, batch)
        shape: Prediction = self.around(torch.cat([features, flow], -1))
        if shape.quantiles is None:
            # Nothing is added, but every weight has a gradient, which distributed training needs.
            return Prediction(flow + 0.0 * shape.mean, shape.scale)
        middle = shape.quantiles[..., MIDDLE : MIDDLE + 1]
        quantiles = shape.quantiles - middle + flow[..., None]
        return Prediction(*moments(quantiles), quantiles)


BUILT_IN: dict[str, Callable[[int, int], nn.Module]] = {
    "point": PointHead,
    "gaussian": GaussianHead,
    "quantile": QuantileHead,
    "composition": CompositionHead,
    "probability": ProbabilityHead,
    "hbv": HBVHead,
}


def make_head(name: str, d_model: int, n_targets: int, forcings: Sequence[str] = ()) -> nn.Module:
    """The named head with new weights; `forcings` are the names of those of its batches.

    Raises `InputError` for an unknown name, and for forcings without those that HBV needs.

    >>> make_head("point", 8, 1)(torch.zeros(2, 12, 8)).mean.shape
    torch.Size([2, 12, 1])
    """
    make = HEADS.get(name, "finetune.head").make or BUILT_IN[name]
    if make is HBVHead:
        return HBVHead(d_model, n_targets, forcings)
    return make(d_model, n_targets)


def predicted(head: nn.Module, features: Tensor, batch: Batch) -> Prediction:
    """The prediction of a head from features [B, T, d]; a process model reads the batch too."""
    found: Prediction = head(features, batch) if isinstance(head, HBVHead) else head(features)
    return found


def with_statics(series: Tensor, statics: Tensor) -> Tensor:
    """Series [B, T, F] with the statics [B, S], repeated over time, appended: [B, T, F + S]."""
    return torch.cat([series, statics[:, None].expand(-1, series.shape[1], -1)], -1)


class ResidualLSTMDecoder(nn.Module):
    """A residual LSTM: z + Linear([z, x, c]) with z = LSTM(Linear([h, x, c]))."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        wide = d_model + n_forcings + n_statics
        self.before = nn.Linear(wide, d_model)
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)
        self.after = nn.Linear(wide, d_model)

    def forward(self, features: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
        """Features [B, T, d] for the head."""
        inputs = with_statics(forcings, statics)
        memory = self.lstm(self.before(torch.cat([features, inputs], -1)))[0]
        return memory + self.after(torch.cat([memory, inputs], -1))


class LinearDecoder(nn.Module):
    """Features unchanged, so that the head is the only layer over time."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()

    def forward(self, features: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
        """Features [B, T, d] for the head."""
        return features


DECODERS = {"residual_lstm": ResidualLSTMDecoder, "linear": LinearDecoder}
