"""The model that is mapped: the best on validation cells of those that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import bad_input
from pipeline.cube.open import open_cube
from workflows.config.ranking import BEST

MODEL, REASON = "model", "model_choice"
"""Attributes of cubes of predictions: the name of the model, and why it was chosen."""


@dataclass(frozen=True)
class Choice:
    """The model that is mapped, and why, as the end of a sentence."""

    model: str
    reason: str

    @property
    def sentence(self) -> str:
        """The choice as a sentence without its full stop."""
        return f"The maps are of {self.model}: {self.reason}"

    @property
    def attributes(self) -> dict[str, str]:
        """The choice as attributes of a cube of predictions."""
        return {MODEL: self.model, REASON: self.reason}

    @classmethod
    def of(cls, store: Path) -> Choice | None:
        """The choice in the attributes of a store; None for stores of earlier versions."""
        attrs = open_cube(store).attrs
        return cls(str(attrs[MODEL]), str(attrs[REASON])) if {MODEL, REASON} <= {*attrs} else None


def choose(
    wanted: str, ranking: Sequence[str], score: str, why_not: Callable[[str], str]
) -> Choice:
    """The wanted model, or of a ranking the first that can be mapped.

    `why_not` returns why a model cannot be mapped, or nothing. Without a ranking, as of runs of
    earlier versions, StefaLand is mapped. Raises `InputError` where the wanted model cannot be.
    """
    if wanted != BEST:
        if reason := why_not(wanted):
            raise bad_input(
                "predict.model", f"{wanted}, but {reason}", "a model that can be mapped",
                f"Set predict.model to {BEST}, or run `stefaland run CONFIG --from finetune`.",
            )  # fmt: skip
        return Choice(wanted, "predict.model names it")
    if not ranking:
        return Choice("stefaland", "this run has no scores of validation cells")
    reasons: list[str] = []
    for model in ranking:
        reason = why_not(model)
        if not reason:
            if len(ranking) == 1:
                return Choice(model, "the only model")
            of = " of those that can be mapped" if reasons else f" of {len(ranking)} models"
            best = f"the best{of} on validation cells by {score}"
            return Choice(model, "; ".join([best, *reasons]))
        reasons.append(f"not {model}, because {reason}")
    raise bad_input("predict.model", "; ".join(reasons), "a model that can be mapped")
