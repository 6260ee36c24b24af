"""How well a pretrained network and simple references reconstruct the same hidden values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stefaland.data.batch import BatchSource
from stefaland.data.sampler import Draw
from stefaland.training.reconstruction import MaskedReconstruction
from stefaland.training.references import References

FITTED_WINDOWS = 512
"""Largest number of training windows to which the references are fitted."""
Skills = dict[str, dict[str, float]]


def pretraining_skills(
    model: nn.Module,
    objective: MaskedReconstruction,
    windows: BatchSource,
    *,
    train: list[Draw],
    validation: list[Draw],
) -> Skills:
    """Skills by variable, and of `all forcings` and `all statics`, of the network and references.

    A skill is 1 - SSE / SSE of the training mean, of the values that validation hides; references
    are fitted to the windows `train`. A variable without hidden values is left out.
    """
    references = References.fit(windows.batches(train))
    config = objective.model_config
    errors: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    model.eval()
    with torch.inference_mode():
        for number, batch in enumerate(windows.batches(validation)):
            hidden, hidden_statics = objective.validation_masks(batch, number)
            numeric = hidden_statics[:, : batch.statics.shape[1]]
            network = model(batch, hidden, hidden_statics)
            guesses = {"network": network.forcings, **references.forcings(batch, hidden)}
            _add(errors, "forcings", config.forcings, batch.forcings, hidden, guesses)
            guesses = {"network": network.statics, **references.statics(batch, hidden, numeric)}
            _add(errors, "statics", config.statics, batch.statics, numeric, guesses)
    return {
        name: {who: 1.0 - error / found["mean"] for who, error in found.items() if who != "mean"}
        for name, found in errors.items()
        if found["mean"] > 0
    }


def _add(
    errors: dict[str, dict[str, float]], group: str, names: tuple[str, ...], values: Tensor,
    hidden: Tensor, guesses: Mapping[str, Tensor],
) -> None:  # fmt: skip
    """Add the squared errors of hidden values, and under `mean` those of the training mean."""
    counted = (hidden & ~values.isnan()).cpu()
    truth = values.cpu().double().nan_to_num(0.0)
    for who, guess in {**guesses, "mean": torch.zeros_like(truth)}.items():
        square = torch.where(counted, (guess.cpu().double() - truth).square(), 0.0)
        by_variable = square.flatten(0, -2).sum(0).tolist()
        for name, error in zip(names, by_variable, strict=True):
            errors[name][who] += error
        errors[f"all {group}"][who] += sum(by_variable)
