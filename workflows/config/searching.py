"""The `search` section of a run: which finetuning settings `stefaland sweep --search` tries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pipeline.core.settings import Frozen
from stefaland.metrics import ScoreName
from workflows.config.finetuning import FinetuneSettings
from workflows.config.ranking import ranks
from workflows.config.trials import Choice, Range

Values = Annotated[tuple[Choice, ...], Field(min_length=1)] | Range
DEFAULT: dict[str, Any] = {
    "adapter": ("dual_residual", "gated", "bottleneck", "none"),
    "unfreeze": ("none", 1, "all"),
    "layer_decay": (0.3, 0.65, 1.0),
    "optimiser.lr": Range(low=5e-4, high=1e-2, log=True),
    "optimiser.weight_decay": (0.0, 0.01, 0.1),
    "dropout": (0.0, 0.2, 0.4),
    "baseline_dropout": (0.0, 0.2, 0.4),
    "static_noise": (0.0, 0.1, 0.3),
    "steps": (200, 600),
    "trees.lr": Range(low=0.02, high=0.2, log=True),
    "trees.leaves": (7, 15, 31, 63),
    "trees.min_samples": (20, 100, 500),
}


class SearchSettings(Frozen):
    """Settings of a search of finetuning settings, the same for all models."""

    trials: int = Field(12, gt=0, le=10_000)
    """Number of settings that are tried of each model; the first are those of the config."""
    metric: Annotated[ScoreName, AfterValidator(ranks)] = "RMSE"
    """Score of the validation cells by which trials are ranked; that of compositions and
    probabilities is the one of their scorecard."""
    over: Literal["sites", "pooled"] = "sites"
    """Median over validation sites, or all of their values pooled."""
    choice: Literal["fold", "run"] = "fold"
    """Settings are chosen for each fold by its own validation cells (`fold`), or once for all folds
    by the mean of their scores (`run`): the validation cells of one fold are then test cells of
    another."""
    values: dict[str, Values] = Field(default_factory=lambda: dict(DEFAULT))
    """Values of each setting of `finetune` that are tried: a list, or an interval `{low: 5.0e-4,
    high: 1.0e-2, log: true}`. Models leave out the settings that they do not read."""

    def misfits(self, finetune: FinetuneSettings) -> list[str]:
        """Why values are none of the finetuning settings; empty where all are."""
        wrong = []
        for name, values in self.values.items():
            tried = (values.low, values.high) if isinstance(values, Range) else values
            for value in tried:
                wrong += finetune.misfits(nested({name: value}), "search.values")
        return wrong

    def space(self, finetune: FinetuneSettings) -> dict[str, tuple[Choice, ...] | Range]:
        """The values of each setting; intervals of numbers that may have decimals are of these."""
        present = finetune.model_dump()
        return {name: _as_real(values) if isinstance(_of(present, name), float) else values
                for name, values in self.values.items()}  # fmt: skip


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with dotted names (`optimiser.lr`) as nested sections."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, last = name.split(".")
        section = found
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    return found


def _of(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def _as_real(values: tuple[Choice, ...] | Range) -> tuple[Choice, ...] | Range:
    if not isinstance(values, Range):
        return values
    return values.model_copy(update={"low": float(values.low), "high": float(values.high)})
