"""Settings from files and callers as frozen, validated values; every error becomes a fault."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from pipeline.core.errors import Fault, Faults, InputError, bad_input, nearest_name
from pipeline.core.plugins import NOT_REGISTERED
from pipeline.core.safe_yaml import read_yaml
from pipeline.core.written.characters import refused_characters
from pipeline.core.written.references import as_printed

Settings = TypeVar("Settings", bound=BaseModel)

_NAME = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def _not_nan(number: float) -> float:
    if math.isnan(number):
        raise ValueError("nan, which is no number")
    return number


Limit = Annotated[float, AllowInfNan(True), AfterValidator(_not_nan)]
"""A number, or infinity where there is no limit."""


class Frozen(BaseModel):
    """Immutable settings; extra keys are errors, and numbers are finite unless they are limits."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def later(default: Any) -> Any:
    """A setting that older versions did not have, left out of dumps where it has its default.

    Fingerprints are made of dumps: those of runs which do not use the setting stay the same.
    """
    return Field(default, exclude_if=lambda value: value == default)


def validated(model: type[Settings], value: Any, where: str) -> Settings:
    """Return `value` as settings of `model`; raises `InputError` with a fault for each error."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise unfit_settings(where, error, model) from None


def unfit_settings(
    where: str, error: ValidationError, model: type[BaseModel] = BaseModel
) -> InputError:
    """Return the `InputError` with a fault for each error that pydantic found in settings."""
    return InputError([_fault(where, item, model) for item in error.errors(include_url=False)])


def _fault(where: str, item: Mapping[str, Any], model: type[BaseModel]) -> Fault:
    keys, location = item["loc"], _location(where, item["loc"])
    match item["type"]:
        case "extra_forbidden":
            known = _keys_beside(model, keys)
            expected = f"one of {', '.join(known)}" if known else "a known key"
            return Fault(location, "an unknown key", expected, nearest_name(str(keys[-1]), known))
        case "missing":
            return Fault(location, "nothing", "a value for this key")
        case "value_error":
            text = str(item["ctx"]["error"])
            # Of several names, each keeps its hint ("Did you mean …?") beside it.
            found, _, hint = (text, "", "") if text.endswith("?") else text.partition(". ")
            return Fault(location, found, "consistent settings", hint and f"{hint.rstrip('.')}.")
        case kind if kind == NOT_REGISTERED:
            texts = item["ctx"]
            return Fault(location, texts["found"], texts["expected"], texts["hint"])
        case "model_type":
            return Fault(location, _shown(item["input"]), "a mapping of settings")
        case _:
            expected = item["msg"].removeprefix("Input should be ")
            return Fault(location, _shown(item["input"]), expected)


def _shown(value: Any) -> str:
    """Return the start of a value's text, in which no value of the environment is cut in two."""
    return as_printed(repr(value))[:80]


def _location(where: str, keys: Sequence[object]) -> str:
    return f"{where}: {'.'.join(map(str, keys))}" if keys else where


def _keys_beside(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that a model, or a model nested in it, accepts at the level of `location`."""
    kinds: list[Any] = [model]
    for part in location[:-1]:
        # For a union pydantic reports the member too, which is not a key: the types stay the same.
        kinds = [inner for kind in kinds for inner in _beneath(kind, part)] or kinds
    return [name for kind in kinds for name in getattr(kind, "model_fields", {})]


def _beneath(kind: Any, part: int | str) -> list[Any]:
    """Return the types, without unions, of the value under a key or index of a type `kind`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields
        return _members(fields[str(part)].annotation) if part in fields else []
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and Ellipsis not in arguments and isinstance(part, int):
        return _members(arguments[part])
    if origin is None or not arguments:
        return []
    return _members(arguments[isinstance(origin, type) and issubclass(origin, Mapping)])


def _members(kind: Any) -> list[Any]:
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [member for part in get_args(kind) for member in _members(part)]
    return [kind]


def expanded(
    value: Any,
    lookup: Callable[[str], str],
    where: str,
    faults: Faults,
    keys: tuple[object, ...] = (),
) -> Any:
    """Return `value` with `${NAME}` and `${NAME:-default}` replaced in all of its texts.

    `lookup` returns the value of a name, or raises `LookupError(expected)` or
    `LookupError(expected, hint)`: then the default is used, or, if there is none, a fault is added
    for the text under `keys` of `where`.
    """
    if isinstance(value, Mapping):
        return {k: expanded(v, lookup, where, faults, (*keys, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [expanded(v, lookup, where, faults, (*keys, i)) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        name, default = match.groups()
        try:
            return lookup(name)
        except LookupError as error:
            if default is None:
                faults.add(_location(where, keys), f"${{{name}}}", *error.args)
            return default or ""

    return _NAME.sub(replacement, value)


def check_texts(value: Any, where: str, faults: Faults, keys: tuple[object, ...] = ()) -> None:
    """Add a fault for each text in nested settings with characters that files cannot hold."""
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            check_texts(item, where, faults, (*keys, key))
    elif isinstance(value, str) and (refused := refused_characters(value)):
        found = f"a text with the control character {refused}"
        faults.add(_location(where, keys), found, "printable text")


def read_mapping(path: Path, expected: str = "a YAML mapping") -> dict[Any, Any]:
    """Return the mapping in a YAML file; raises `InputError` if it is unreadable or has none."""
    value = read_yaml(path, expected)
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise bad_input(str(path), found, expected)
    return value


def read_entries(path: Path, what: str) -> dict[str, dict[Any, Any]]:
    """Return the mapping of names to mappings in a YAML file of `what`, such as "sources".

    Raises `InputError` for a file that cannot be read, is not YAML or has other contents.
    """
    entries = read_mapping(path, f"a YAML mapping of names to {what}")
    faults = Faults()
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            faults.add(f"{path.name}: {name}", _shown(entry), "a mapping of its settings")
    faults.raise_if_any()
    return {str(name): entry for name, entry in entries.items()}
