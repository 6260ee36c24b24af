"""The `finetune` section of a run's settings: recipe, baselines, stacks, settings of one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError, field_validator, model_validator

from pipeline.core.errors import nearest_name
from pipeline.core.settings import later, unfit_settings
from pipeline.core.written.names import PathName
from stefaland.baselines.settings_read import reads
from stefaland.config import FinetuneConfig
from workflows.config.merged import merged

OF_THE_RUN = {"cube", "baselines", "stack", "of", "of_folds"}
"""Settings that are none of a training."""
OF_ALL_MODELS = {
    "task", "head", "window", "warmup_steps", "cyclic", "missing_groups", "seed", "label_fraction",
}  # fmt: skip
"""Settings that all models of a run share: they decide what is predicted and scored."""
Changes = dict[str, Any]


class FinetuneSettings(FinetuneConfig):
    """Settings of finetuning, the cube with the target, and the baselines on the same folds."""

    cube: str
    baselines: tuple[str, ...] = ("climatology", "ridge", "lstm", "scratch")
    stack: dict[PathName, tuple[str, ...]] = later({})
    """Models as one, with weights from the validation cells of each fold: `[stefaland, lstm]`, or
    several such stacks by name, `{stack: [stefaland, lstm], no_pretraining: [ridge, lstm]}`."""
    of: dict[PathName, Changes] = later({})
    """Settings of single models that differ from this section, such as `{lstm: {optimiser: {lr:
    0.005}}, stefaland: {adapter: gated}}`; `stefaland sweep --search` finds and writes them. What a
    model does not read is refused."""
    of_folds: dict[PathName, dict[PathName, Changes]] = later({})
    """Settings of single models in single folds, on top of those in `of`: `{block0: {lstm: {steps:
    600}}}`."""

    @property
    def models(self) -> list[str]:
        """Names of StefaLand, the baselines and the stacks."""
        return ["stefaland", *self.baselines, *self.stack]

    def recipe(self, seed: int, model: str = "", fold: str = "") -> FinetuneConfig:
        """The settings with which a model is trained on a fold; by default those of all models."""
        return self.changed(self.changes(model, fold), seed)

    def changes(self, model: str, fold: str) -> dict[str, Any]:
        """The settings of a model in a fold that differ from those of all models."""
        return merged(self.of.get(model, {}), self.of_folds.get(fold, {}).get(model, {}))

    def changed(self, changes: Mapping[str, Any], seed: int) -> FinetuneConfig:
        """The settings of a training with others on top; `ValidationError` where they do not fit.

        A head and a loss that the changes do not name are those of this section.
        """
        own = self.model_dump(exclude=OF_THE_RUN)
        return FinetuneConfig(**merged(own, {**changes, "seed": seed}))

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

    @model_validator(mode="after")
    def _changes_fit(self) -> FinetuneSettings:
        faults = []
        for where, model, changes in self.all_changes():
            faults += self.misfits(merged(self.of.get(model, {}), changes), where)
            faults += _unread(model, changes, where)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def all_changes(self) -> Iterator[tuple[str, str, Changes]]:
        """Key, model and settings of each entry of `of` and of `of_folds`."""
        for model, changes in self.of.items():
            yield f"of.{model}", model, changes
        for fold, of_models in self.of_folds.items():
            for model, changes in of_models.items():
                yield f"of_folds.{fold}.{model}", model, changes

    def misfits(self, changes: Mapping[str, Any], where: str) -> list[str]:
        """Why the settings of one model do not fit, each with its key; empty where they do."""
        if shared := sorted((OF_ALL_MODELS | OF_THE_RUN) & {*changes}):
            return [f"{where}.{name}: a setting of all models" for name in shared]
        try:
            self.changed(changes, 0)
        except ValidationError as error:
            found = unfit_settings(where, error, FinetuneConfig).faults
            return [f"{fault.where.replace(': ', '.', 1)}: {fault.found}, not {fault.expected}"
                    + f". {fault.hint}" * bool(fault.hint) for fault in found]  # fmt: skip
        return []

    def unknown_names(self, models: Iterable[str], folds: Iterable[str] | None) -> Iterator[str]:
        """Keys of `of` and `of_folds` that name no model, or no fold where these are known."""
        yield from (f"of.{name}" for name in self.of if name not in models)
        for fold, of_models in self.of_folds.items():
            if folds is not None and fold not in folds:
                yield f"of_folds.{fold}"
            yield from (f"of_folds.{fold}.{name}" for name in of_models if name not in models)


def _unread(model: str, changes: Mapping[str, Any], where: str) -> list[str]:
    """The settings of one model that decide nothing of it, each with its key and what it reads."""
    own = [name for name in FinetuneConfig.model_fields if name not in OF_ALL_MODELS]
    read = [name for name in own if reads(model, name)]
    return [
        f"{where}.{name}: a setting that {model} does not read; it reads "
        f"{', '.join(read) or 'none'}"
        for name in changes
        if name in own and name not in read
    ]
