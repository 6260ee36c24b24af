"""The objective of finetuning and of network baselines: the loss of predicted targets.

The calibration after training uses the same validation windows.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.core.errors import bad_input
from stefaland.config import FinetuneConfig
from stefaland.data.batch import Batch, BatchSource
from stefaland.data.cell_data import CellData
from stefaland.data.missing import Dropping
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw
from stefaland.distributed import rank, sum_over_ranks, world_size
from stefaland.folds.split import Fold
from stefaland.model.heads import Prediction
from stefaland.model.losses import finetune_loss
from stefaland.tasks import values_of

VALIDATION_WINDOWS = 2048


class TargetLoss:
    """The loss of predicted targets in training and on held-out windows.

    The first `warmup_steps` of a window count in neither. `site_std` [n, O] is the standard
    deviation of the normalised target of each of `cells` [n], for losses that weight sites;
    `dropping` removes inputs from training windows.
    """

    def __init__(
        self, config: FinetuneConfig, cells: Tensor, site_std: Tensor, device: torch.device,
        dropping: Dropping | None = None,
    ) -> None:  # fmt: skip
        self.loss, self.warmup = finetune_loss(config.loss), config.warmup_steps
        self.is_quantity = values_of(config.task) == "quantity"
        self.dropping = dropping
        self.window, self.cyclic = config.window, config.cyclic
        self.batch_size, self.static_noise = config.batch_size, config.static_noise
        order = cells.argsort()
        self.cells, self.site_std = cells[order].to(device), site_std[order].to(device)

    def __call__(
        self, model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator
    ) -> Tensor:
        """Mean loss over the valid targets of the draw (`masked_mean`), with noise on statics."""
        if self.static_noise:
            # Drawn for the whole batch, so that it does not depend on the number of ranks.
            shape = (len(draw.rows), batch.statics.shape[1])
            noise = torch.randn(shape, generator=generator, device=batch.statics.device)[draw.part]
            batch = replace(batch, statics=batch.statics + self.static_noise * noise)
        if self.dropping is not None:
            batch = self.dropping(batch, len(draw.rows), draw.part, generator)
        return self.prediction_loss(model(batch), batch)

    def prediction_loss(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean loss of a prediction; raises `InputError` without target or cell ids.

        Several quantities count alike, however many values of each the batch has.
        """
        if batch.target is None or batch.cell is None:
            raise bad_input(
                "finetuning",
                "batches without target or cell ids",
                "batches with target and cell ids",
            )
        late = slice(self.warmup, None)
        index = torch.searchsorted(self.cells, batch.cell).clamp(max=len(self.cells) - 1)
        found, target, std = prediction.cut(late), batch.target[:, late], self.site_std[index]
        count = target.shape[-1]
        if count == 1 or not self.is_quantity:
            return self.loss(found, target, std[:, None])
        losses = [
            self.loss(found.of_target(i), target[..., i : i + 1], std[:, None, i : i + 1])
            for i in range(count)
        ]
        return torch.stack(losses).mean()

    def validation_draws(self, rows: Tensor, starts: tuple[int, int]) -> list[Draw]:
        """Windows that cover each validation row, or with many rows a regular selection of them."""
        first, count = starts
        begin = torch.arange(first, first + count, max(self.window - self.warmup, 1))
        if self.cyclic:
            begin = begin[:1]
        elif int(begin[-1]) != first + count - 1:
            begin = torch.cat([begin, torch.tensor([first + count - 1])])
        pairs = torch.cartesian_prod(rows, begin)
        if len(pairs) > VALIDATION_WINDOWS:
            pairs = pairs[:: math.ceil(len(pairs) / VALIDATION_WINDOWS)]
        return [
            Draw(part[:, 0], part[:, 1], slice(0, len(part)))
            for part in pairs.split(self.batch_size)
        ]

    def validate(
        self, model: nn.Module, windows: BatchSource, draws: list[Draw]
    ) -> dict[str, float]:
        """The figures `loss` and `rmse` (normalised) over all ranks; NaN without a valid target."""
        sums = dict.fromkeys(("loss", "n", "square", "valid"), 0.0)
        late = slice(self.warmup, None)
        with torch.inference_mode():
            for batch in windows.batches(draws[rank() :: world_size()]):
                assert batch.target is not None
                prediction = model(batch)
                gap = (prediction.mean - batch.target)[:, late]
                valid = ~gap.isnan()
                if not bool(valid.any()):
                    continue
                sums["loss"] += float(self.prediction_loss(prediction, batch)) * len(batch)
                sums["n"] += len(batch)
                sums["square"] += float(gap[valid].double().square().sum())
                sums["valid"] += int(valid.sum())
        total = sum_over_ranks(sums, windows.device)
        if not total["n"]:
            return {"loss": math.nan, "rmse": math.nan}
        return {
            "loss": total["loss"] / total["n"],
            "rmse": math.sqrt(total["square"] / total["valid"]),
        }


def site_std(data: CellData, normaliser: Normaliser, fold: Fold) -> Tensor:
    """Standard deviation [N, O] of each site's normalised target over the training period."""
    assert data.target is not None
    when = data.steps(fold.train_period)
    series = normaliser.forward(data.target[:, when], data.target_names)
    mean = series.nanmean(1, keepdim=True)
    return (series - mean).square().nanmean(1).sqrt().nan_to_num(1.0)
