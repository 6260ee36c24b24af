"""The trainings and stacks of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.core.errors import Faults, nearest_name
from stefaland.baselines.registry import BASELINES
from stefaland.model.adapters import ADAPTERS

WITH_ADAPTER = ("stefaland", "scratch", "random_encoder")
Stacks = Mapping[str, Sequence[str]]
"""The models of each stack, by its name."""
NO_STACKS: Stacks = {}
WITHOUT_SEED = ("climatology", "ridge", "persistence")
"""Baselines without random numbers: they are fitted once for each fold."""


@dataclass(frozen=True)
class Item:
    """One training: a model, its adapter (empty where it has none), a seed and a fold."""

    model: str
    adapter: str
    seed: int
    fold: str

    @property
    def variant(self) -> str:
        """Model and adapter, the unit of comparison."""
        return f"{self.model}:{self.adapter}" if self.adapter else self.model

    @property
    def name(self) -> str:
        """Name of the item's marker and folder."""
        return f"{self.variant.replace(':', '_')}-seed{self.seed}-{self.fold}"


def items(
    folds: Sequence[str], models: Sequence[str], adapters: Sequence[str], seeds: Sequence[int]
) -> list[Item]:
    """Every training of the sweep, ordered so that each part has long and short ones."""
    return [
        Item(model, adapter, seed, fold)
        for seed in seeds
        for model in models
        for adapter in (adapters if model in WITH_ADAPTER else ("",))
        for fold in folds
        if seed == seeds[0] or model not in WITHOUT_SEED
    ]


def stack_items(
    folds: Sequence[str], stacks: Stacks, adapters: Sequence[str], seeds: Sequence[int]
) -> list[Item]:
    """Every stack of the sweep; one with a model that has an adapter is made for each adapter."""
    return [
        Item(name, adapter, seed, fold)
        for seed in seeds
        for name, models in stacks.items()
        for adapter in (adapters if {*models} & {*WITH_ADAPTER} else ("",))
        for fold in folds
    ]


def stacked_items(item: Item, models: Sequence[str], first_seed: int) -> dict[str, Item]:
    """The trainings of the models of a stack, by model."""
    return {
        model: replace(
            item, model=model, adapter=item.adapter if model in WITH_ADAPTER else "",
            seed=first_seed if model in WITHOUT_SEED else item.seed,
        )
        for model in models
    }  # fmt: skip


def check_names(
    models: Sequence[str], adapters: Sequence[str], seeds: Sequence[int], stacks: Stacks = NO_STACKS
) -> None:
    """Raise `InputError` with every unknown model and adapter, and for repeated seeds.

    A stack needs its models in the sweep.
    """
    faults = Faults()
    for name in (name for name in models if name in stacks):
        if missing := [model for model in stacks[name] if model not in models]:
            faults.add(
                "--models", f'"{name}" without {", ".join(missing)}', "a stack with its models",
                f"Add {','.join(missing)}.",
            )  # fmt: skip
    for option, names, known in (
        ("--models", models, ["stefaland", *BASELINES.names(), *stacks]),
        ("--adapters", adapters, ADAPTERS.names()),
    ):
        for name in names:
            if name not in known:
                faults.add(
                    option, f'"{name}"', f"one of {', '.join(known)}", nearest_name(name, known)
                )
    if len(set(seeds)) < len(seeds) or not seeds:
        faults.add("--seeds", ", ".join(map(str, seeds)) or "none", "different numbers")
    faults.raise_if_any()
