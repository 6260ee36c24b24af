"""A catalog's YAML file as named entries, with one clear refusal where it is something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from pipeline.core.errors import Faults, bad_input


def read_entries(path: Path, what: str) -> dict[str, Any]:
    """The mapping of names to mappings in a YAML file of `what`, such as "sources".

    `InputError` for a file that cannot be read, is no YAML or holds anything else.
    """
    expected = f"a YAML mapping of names to {what}"
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise bad_input(str(path), str(error.strerror), f"a file of {what}") from None
    except (yaml.YAMLError, ValueError) as error:
        # PyYAML gives a plain ValueError for a date that does not exist, and so does decoding.
        raise bad_input(str(path), " ".join(str(error).split()), expected) from None
    if not isinstance(value, dict):
        raise bad_input(str(path), "nothing" if value is None else repr(value)[:80], expected)
    faults = Faults()
    for name, entry in value.items():
        if not isinstance(entry, dict):
            faults.add(f"{path.name}: {name}", repr(entry)[:80], "a mapping of its settings")
    faults.raise_if_any()
    return {str(name): entry for name, entry in value.items()}


class Frozen(BaseModel):
    """Immutable settings; extra keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
