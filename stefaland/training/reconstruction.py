"""The objective of pretraining: the reconstruction of values that are hidden and observed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stefaland.config import ModelConfig, PretrainConfig
from stefaland.data.batch import Batch, BatchSource
from stefaland.data.sampler import Draw
from stefaland.distributed import rank, sum_over_ranks, world_size
from stefaland.model.losses import masked_loss
from stefaland.model.masking import group_mask, window_mask
from stefaland.training.pretext import contrastive_loss, pretext_loss

VALIDATION_SEED = 20_250_917
VALIDATION_BATCH = 512


class MaskedReconstruction:
    """The masked loss in training, and the skill of reconstruction on held-out windows."""

    def __init__(self, model_config: ModelConfig, config: PretrainConfig) -> None:
        self.model_config, self.mask = model_config, config.mask
        self.static_weight = config.static_weight
        self.pretext_weight = config.pretext_weight
        self.contrastive_weight = config.contrastive_weight
        self.batch_size = min(VALIDATION_BATCH, config.batch_size)

    def masks(self, whole: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Masks of hidden forcings [B, T, F] and statics [B, S + K] for a batch of this shape."""
        forcings = window_mask(
            tuple(whole.forcings.shape), self.mask.forcing_ratio, self.mask.window_min,
            self.mask.window_max, generator, whole.forcings.device,
        )  # fmt: skip
        if self.mask.future_share:
            forcings = self._with_future(forcings, generator)
        return forcings, group_mask(whole, self.model_config, self.mask.static_ratio, generator)

    def _with_future(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """The mask [B, T, F] with all forcings hidden from some day on in some samples."""
        samples, steps, _ = hidden.shape
        drawn = torch.rand((2, samples), generator=generator, device=hidden.device)
        begin = (steps - (steps - steps // 2) * drawn[0]).long()
        begin = torch.where(drawn[1] < self.mask.future_share, begin, steps)
        after = torch.arange(steps, device=hidden.device) >= begin[:, None]
        kept = hidden & (begin == steps)[:, None, None]
        return kept | after[..., None]

    def __call__(
        self, model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator
    ) -> Tensor:
        """The masked loss (`masked_loss`) under masks drawn for the whole batch, and the losses of
        pretext targets and of pairs of windows where the settings have them."""
        whole = batch if len(draw.rows) == len(batch) else _shaped_like(batch, len(draw.rows))
        forcing_mask, static_mask = (m[draw.part] for m in self.masks(whole, generator))
        reconstruction = model(batch, forcing_mask, static_mask)
        loss, _ = masked_loss(reconstruction, batch, forcing_mask, static_mask, self.static_weight)
        if reconstruction.pretext is not None:
            loss = loss + self.pretext_weight * pretext_loss(reconstruction.pretext, batch.target)
        if self.contrastive_weight:
            assert reconstruction.days is not None
            assert batch.cell is not None
            pulled = contrastive_loss(reconstruction.days, batch.cell)
            loss = loss + self.contrastive_weight * pulled
        return loss

    def validation_draws(self, rows: Tensor, starts: tuple[int, int]) -> list[Draw]:
        """Windows of each row once, with evenly spread starts; the same in every epoch."""
        first, count = starts
        begin = first + (torch.arange(len(rows)) * 7919) % count
        return [
            Draw(r, s, slice(0, len(r)))
            for r, s in zip(rows.split(self.batch_size), begin.split(self.batch_size), strict=True)
        ]

    def validate(
        self, model: nn.Module, windows: BatchSource, draws: list[Draw]
    ) -> dict[str, float]:
        """The figures `loss`, `forcing_skill` and `static_skill` over all ranks.

        The masks are the same in every epoch. The skill is 1 - SSE / SSE of the training mean: 0
        is no better than the mean, 1 is perfect.
        """
        mine = draws[rank() :: world_size()]
        names = ["loss", "n", "forcing", "forcing0", "static", "static0"]
        names += ["pretext", "pretext0"] if self.model_config.pretext else []
        sums = dict.fromkeys(names, 0.0)
        with torch.inference_mode():
            for i, batch in enumerate(windows.batches(mine)):
                masks = self.validation_masks(batch, rank() + i * world_size())
                for name, value in self._errors(model, batch, *masks).items():
                    sums[name] += value
        total = sum_over_ranks(sums, windows.device)
        skills = {
            f"{name}_skill": 1 - total[name] / max(total[f"{name}0"], 1e-12)
            for name in ("forcing", "static", "pretext")
            if name in total
        }
        return {"loss": total["loss"] / max(total["n"], 1.0), **skills}

    def validation_masks(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """The masks of validation batch `number`, which are the same in every epoch."""
        seed = VALIDATION_SEED + number
        generator = torch.Generator(batch.forcings.device).manual_seed(seed)
        return self.masks(batch, generator)

    def _errors(
        self, model: nn.Module, batch: Batch, forcing_mask: Tensor, static_mask: Tensor
    ) -> dict[str, float]:
        reconstruction = model(batch, forcing_mask, static_mask)
        loss, _ = masked_loss(reconstruction, batch, forcing_mask, static_mask, self.static_weight)
        numeric = static_mask[:, : batch.statics.shape[1]]
        sums = {"loss": float(loss) * len(batch), "n": float(len(batch))}
        for name, values, guess, mask in (
            ("forcing", batch.forcings, reconstruction.forcings, forcing_mask),
            ("static", batch.statics, reconstruction.statics, numeric),
        ):
            hidden = mask & ~values.isnan()
            sums[name] = float((guess - values)[hidden].double().square().sum())
            sums[f"{name}0"] = float(values[hidden].double().square().sum())
        if reconstruction.pretext is not None and batch.target is not None:
            known = ~batch.target.isnan()
            gap = (reconstruction.pretext - batch.target)[known]
            sums["pretext"] = float(gap.double().square().sum())
            sums["pretext0"] = float(batch.target[known].double().square().sum())
        return sums


def _shaped_like(batch: Batch, size: int) -> Batch:
    """A batch of `size` samples without memory of its own, whose shape is that of the masks."""
    return Batch(
        batch.forcings[:1].expand(size, -1, -1),
        batch.statics[:1].expand(size, -1),
        categorical=None if batch.categorical is None else batch.categorical[:1].expand(size, -1),
    )
