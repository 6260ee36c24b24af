"""Losses: masked reconstruction for pretraining, and losses of the target for finetuning.

Missing values count in no loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.errors import bad_input
from stefaland.data.batch import Batch
from stefaland.distributed import mean_over_parts
from stefaland.model.heads import Prediction
from stefaland.model.mae import Reconstruction
from stefaland.model.quantiles import pinball
from stefaland.tasks import LOSSES

TargetLossFunction = Callable[[Prediction, Tensor, Tensor], Tensor]
MIN_PROBABILITY = 1e-6
"""Smallest predicted probability or fraction, so that its logarithm stays finite."""
NSE_FLOOR = 0.1
"""Number added to a site's standard deviation, so that dry sites do not dominate the loss.

Of Kratzert et al. (2019), who add 0.1 mm/day; here both are in units of the normalised target."""


def masked_mean(errors: Tensor, counted: Tensor) -> Tensor:
    """Mean of `errors` where `counted`; 0 with a gradient of 0 where nothing is counted.

    Where a batch is divided among ranks, the average of their results is the mean over the whole
    batch, even if their numbers of missing values differ.
    """
    total = torch.where(counted, errors, torch.zeros_like(errors)).sum()
    count = mean_over_parts(counted.sum())
    return total / torch.where(count > 0, count, torch.ones_like(count))


def _reconstruction_error(guess: Tensor, values: Tensor, log_variance: Tensor | None) -> Tensor:
    error = (guess - values.nan_to_num(0.0)).square()
    if log_variance is None:
        return error
    return 0.5 * ((-log_variance).exp() * error + log_variance)


def masked_loss(
    reconstruction: Reconstruction,
    batch: Batch,
    forcing_mask: Tensor,
    static_mask: Tensor,
    static_weight: float = 0.5,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error of hidden, observed values: forcings + `static_weight` · statics.

    Categorical attributes add their cross-entropy to the part of the statics. Returns the loss and
    its parts `forcings` and `statics`.
    """
    forcings = masked_mean(
        _reconstruction_error(
            reconstruction.forcings, batch.forcings, reconstruction.forcing_log_variance
        ),
        forcing_mask & ~batch.forcings.isnan(),
    )
    numeric = static_mask[:, : batch.statics.shape[1]]
    statics = masked_mean(
        _reconstruction_error(
            reconstruction.statics, batch.statics, reconstruction.static_log_variance
        ),
        numeric & ~batch.statics.isnan(),
    )
    if reconstruction.categorical and batch.categorical is not None:
        hidden = static_mask[:, batch.statics.shape[1] :]
        for k, scores in enumerate(reconstruction.categorical):
            codes = batch.categorical[:, k]
            entropy = F.cross_entropy(scores, codes.clamp(min=0), reduction="none")
            statics = statics + masked_mean(entropy, hidden[:, k] & (codes >= 0))
    return forcings + static_weight * statics, {"forcings": forcings, "statics": statics}


def _square(prediction: Prediction, target: Tensor) -> tuple[Tensor, Tensor]:
    valid = ~target.isnan()
    return (prediction.mean - target.nan_to_num(0.0)).square(), valid


def _mse(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    return masked_mean(*_square(prediction, target))


def _rmse(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    part = masked_mean(*_square(prediction, target))
    whole = (mean_over_parts(part.detach()) + 1e-12).sqrt()
    # The root of the mean is not the mean of the ranks' roots: each rank adds its derivative.
    return whole + (part - part.detach()) / (2 * whole)


def _nse(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    errors, valid = _square(prediction, target)
    return masked_mean(errors / (site_std + NSE_FLOOR).square(), valid)


def _gaussian(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    if prediction.scale is None:
        raise bad_input("finetune.loss", "gaussian with a point head", "head: gaussian")
    errors, valid = _square(prediction, target)
    variance = prediction.scale.square()
    return masked_mean(0.5 * (errors / variance + variance.log() + math.log(2 * math.pi)), valid)


def _beta_gaussian(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    """Normal likelihood weighted by the predicted standard deviation (Seitzer et al. 2022).

    The exponent beta is 0.5. Without the weight a network widens its distribution where errors are
    large, and then hardly learns the mean there.
    """
    if prediction.scale is None:
        raise bad_input("finetune.loss", "beta_gaussian with a point head", "head: gaussian")
    errors, valid = _square(prediction, target)
    variance = prediction.scale.square()
    likelihood = 0.5 * (errors / variance + variance.log() + math.log(2 * math.pi))
    return masked_mean(likelihood * prediction.scale.detach(), valid)


def _pinball(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    """Pinball loss, averaged over the levels."""
    if prediction.quantiles is None:
        raise bad_input("finetune.loss", "pinball without quantiles", "head: quantile")
    loss = pinball(prediction.quantiles, target.nan_to_num(0.0))
    return masked_mean(loss.mean(-1), ~target.isnan())


def _composition(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the predicted composition from the target's.

    A composition with a missing fraction does not count. Squared errors of fractions are misleading
    (Aitchison 1986).
    """
    valid = ~target.isnan().any(-1)
    fractions = target.nan_to_num(0.0)
    log = prediction.mean.clamp(min=MIN_PROBABILITY).log()
    divergence = (torch.xlogy(fractions, fractions) - fractions * log).sum(-1)
    return masked_mean(divergence, valid)


def _binary(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    valid = ~target.isnan()
    probability = prediction.mean.clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
    entropy = F.binary_cross_entropy(probability, target.nan_to_num(0.0), reduction="none")
    return masked_mean(entropy, valid)


BUILT_IN: dict[str, TargetLossFunction] = {
    "mse": _mse,
    "rmse": _rmse,
    "nse": _nse,
    "gaussian": _gaussian,
    "beta_gaussian": _beta_gaussian,
    "pinball": _pinball,
    "composition": _composition,
    "binary": _binary,
}


def finetune_loss(name: str) -> TargetLossFunction:
    """The named loss of (prediction, target [B, T, O], site_std [B, 1, O]).

    Raises `InputError` for an unknown name.
    """
    return LOSSES.get(name, "finetune.loss").function or BUILT_IN[name]
