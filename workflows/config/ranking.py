"""The `predict` and `score` sections of a run: the mapped model, and how models are ranked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.core.settings import Frozen, later
from stefaland.metrics import SCORES, ScoreName

BEST = "best"
"""The model that `predict.model` names by default."""


def ranks(metric: str) -> str:
    """The name of a score by which models can be ranked; `ValueError` for a signed error."""
    if SCORES.get(metric).better == "near_zero":
        raise ValueError(f'"{metric}", a signed error, which cannot rank models')
    return metric


class PredictSettings(Frozen):
    """Settings of prediction: the cubes that are predicted, the model, batch size and precision."""

    cubes: tuple[str, ...]
    model: str = later(BEST)
    """Model that is mapped: `stefaland` or one of `finetune.baselines`, or `best`, the one that is
    best on the validation cells by `best_by` among those that can be mapped."""
    best_by: Annotated[ScoreName, AfterValidator(ranks)] = later("NSE")
    """Score over all values of the validation cells pooled; other settings of the scorecard change
    no map. Compositions and probabilities are ranked as in their scorecard."""
    batch_size: int = Field(1024, gt=0)
    """Number of cells in a forward pass on a GPU; on the CPU it follows from the window."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Floating-point type of the networks; auto is bfloat16 on a GPU and float32 on the CPU."""


class ScoreSettings(Frozen):
    """The score that ranks models, over sites (their median) or over all held-out values pooled."""

    metric: Annotated[ScoreName, AfterValidator(ranks)] = "NSE"
    over: Literal["sites", "pooled"] = "sites"
    extra: tuple[ScoreName, ...] = Field((), exclude_if=lambda names: not names)
    """Further scores, of plugins and installed packages, in the scorecard."""
    examples: int = Field(4, ge=1, le=1000)
    """Number of sites whose series the report draws."""
