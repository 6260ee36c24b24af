"""Inputs of an encoder that a run lacks: they are hidden from it, as pretraining hides values.

An encoder of many sources knows more variables than each of them has. Of a forcing, pretraining
hides a part of each window, and the whole of it in the windows of a cube that lacks it alone: an
encoder that never saw a forcing absent is used without it only where the run asks for that. Static
attributes are hidden as a whole. The other way round nothing is possible: an encoder cannot read a
variable that it does not know, and the adapter on top of it reads what the encoder reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from stefaland.config import ModelConfig

LACKING = "lacking"
"""Key of `data.json`: variables that some cube of the pretraining lacked as a whole."""


def hidden_inputs(
    known: ModelConfig, forcings: Collection[str], statics: Collection[str]
) -> tuple[str, ...]:
    """The inputs of an encoder that are not among those of a run.

    >>> known = ModelConfig(forcings=("rain", "heat"), statics=("clay",))
    >>> hidden_inputs(known, ["rain"], [])
    ('heat', 'clay')
    """
    return (
        *(name for name in known.forcings if name not in forcings),
        *(name for name in (*known.statics, *known.categorical) if name not in statics),
    )


def never_absent(
    hidden: Iterable[str], known: ModelConfig, stored: Mapping[str, Any]
) -> tuple[str, ...]:
    """The hidden inputs without which the encoder was never pretrained.

    `stored` is the content of its `data.json`.
    """
    always = {*known.forcings, *known.never_masked} - {*stored.get(LACKING, ())}
    return tuple(name for name in hidden if name in always)


def lacking(names: Sequence[str], cubes: Iterable[xr.Dataset]) -> list[str]:
    """The names that at least one of the cubes that pretrain does not have."""
    opened = list(cubes)
    return [name for name in names if any(name not in ds for ds in opened)]


def visible_settings(known: ModelConfig, hidden: Collection[str]) -> ModelConfig:
    """The settings of the same network without the hidden inputs, for models without an encoder."""
    if not hidden:
        return known

    def kept(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in hidden)

    groups = {group: kept(names) for group, names in known.static_groups.items()}
    return known.model_copy(
        update={
            "forcings": kept(known.forcings),
            "statics": kept(known.statics),
            "categorical": {n: c for n, c in known.categorical.items() if n not in hidden},
            "static_groups": {group: names for group, names in groups.items() if names},
            "never_masked": kept(known.never_masked),
        }
    )
