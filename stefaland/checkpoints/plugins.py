"""Plugins of a checkpoint: the modules that register the parts named in its settings.

A checkpoint records them, so that another process can import them before it makes the network.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from pipeline.core.errors import Faults
from pipeline.core.plugins import Registry
from stefaland.model.adapters import ADAPTERS
from stefaland.tasks import HEADS, LOSSES, TASKS

PARTS: dict[str, Registry[Any]] = {
    "task": TASKS,
    "adapter": ADAPTERS,
    "head": HEADS,
    "loss": LOSSES,
}
"""Registries of the parts, by the key under which settings name a part."""


def plugins_of(*settings: Any) -> tuple[str, ...]:
    """Sorted names of the modules outside this package that register parts named in settings.

    >>> from stefaland.config import FinetuneConfig
    >>> plugins_of(FinetuneConfig())
    ()
    """
    origins = {
        registry.origin(getattr(each, key))
        for each in settings
        for key, registry in PARTS.items()
        if hasattr(each, key)
    }
    return tuple(sorted(origins - {""}))


def require_plugins(modules: Iterable[str], where: str) -> None:
    """Import the modules that a checkpoint records; `InputError` lists all that fail."""
    faults = Faults()
    for name in modules:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except Exception as error:  # code of others may raise anything
            faults.add(
                where, f'plugin "{name}", whose import fails ({type(error).__name__}: {error})',
                "the module that registers parts of this network",
                f"Name it under `plugins:` of the config, put the folder of {name}.py on "
                "PYTHONPATH, or install the package that contains it.",
            )  # fmt: skip
    faults.raise_if_any()
