"""The `finetune` section of a run's settings: recipe, baselines and stacks."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from pipeline.core.errors import nearest_name
from pipeline.core.settings import later
from pipeline.core.written.names import PathName
from stefaland.config import FinetuneConfig


class FinetuneSettings(FinetuneConfig):
    """Settings of finetuning, the cube with the target, and the baselines on the same folds."""

    cube: str
    baselines: tuple[str, ...] = ("climatology", "ridge", "lstm", "scratch")
    stack: dict[PathName, tuple[str, ...]] = later({})
    """Models as one, with weights from the validation cells of each fold: `[stefaland, lstm]`, or
    several such stacks by name, `{stack: [stefaland, lstm], no_pretraining: [ridge, lstm]}`."""

    @property
    def models(self) -> list[str]:
        """Names of StefaLand, the baselines and the stacks."""
        return ["stefaland", *self.baselines, *self.stack]

    @field_validator("stack", mode="before")
    @classmethod
    def _named(cls, stack: Any) -> Any:
        return {"stack": stack} if isinstance(stack, list | tuple) else stack

    @model_validator(mode="after")
    def _stacks_fit(self) -> FinetuneSettings:
        alone = ["stefaland", *self.baselines]
        wrong = [f'stack "{name}", which is the name of a model' for name in self.stack
                 if name in alone]  # fmt: skip
        for name, models in self.stack.items():
            wrong += [f'stack "{name}": "{model}", not among {", ".join(alone)}. '
                      f"{nearest_name(model, alone)}".strip()
                      for model in models if model not in alone]  # fmt: skip
            if len(models) < 2 or len({*models}) < len(models):
                wrong.append(f'stack "{name}": {", ".join(models)}; a stack has several models')
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
