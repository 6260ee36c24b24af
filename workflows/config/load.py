"""A config file as `RunConfig`: its parents, `--set`, environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.core.errors import Faults, InputError, bad_input, nearest_name
from pipeline.core.plugins import NOT_REGISTERED, load_plugins
from workflows.config.named_splits import named_split
from workflows.config.schema import RunConfig

MAX_CONFIG_BYTES = 1_000_000


def _expand(value: Any, where: str, faults: Faults) -> Any:
    """`${NAME}` and `${NAME:-default}` in every string of `value`."""
    if isinstance(value, dict):
        return {key: _expand(item, f"{where}.{key}", faults) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, f"{where}.{i}", faults) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = os.environ.get(name, default)
        if found is None:
            hint = f"Run `export {name}=...` first."
            faults.add(where, f"${{{name}}}, which is not set", "an environment variable", hint)
            return ""
        return found

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", variable, value)


def find_config(path: str | Path) -> Path:
    """`path`, or the packaged config of that name (`quickstart`, `quickstart.yml`).

    `InputError` where neither is.
    """
    given = Path(path)
    if given.is_file():
        return given
    return _packaged_config(str(path), f"{given.parent}")


def _parent_config(child: Path, name: str) -> Path:
    """What `extends: name` of `child` stands for: a file beside it, else a packaged config."""
    beside = child.parent / name
    return beside if beside.is_file() else _packaged_config(name, f"{child.parent}")


def _packaged_config(name: str, searched: str) -> Path:
    packaged = Path(str(resources.files("workflows") / "configs"))
    names = sorted(item.stem for item in packaged.glob("*.yml"))
    stem = name.removesuffix(".yml")
    if stem in names:
        return packaged / f"{stem}.yml"
    raise bad_input(
        name, f"no such file in {searched} and no packaged config of that name in {packaged}",
        f"a config file or one of {', '.join(names)}", nearest_name(Path(name).stem, names),
    )  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read safely; `InputError` with line and reason otherwise."""
    expected = "a YAML mapping"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise bad_input(str(path), f"{path.stat().st_size} bytes", "a config below 1 MB")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise bad_input(str(path), str(error.strerror), expected) from None
    except UnicodeDecodeError as error:
        raise bad_input(str(path), str(error), expected) from None
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise bad_input(
                    f"{path}, line {line}", f"the alias *{event.anchor}", "no aliases",
                    "Write the value out, or use extends:.",
                )  # fmt: skip
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise bad_input(str(path), " ".join(str(error).split()), expected) from None
    if not isinstance(value, dict):
        raise bad_input(str(path), type(value).__name__, expected)
    return value


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _with_parents(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in seen:
        raise bad_input(str(path), "a config that extends itself", "a chain that ends")
    value = read_yaml(path)
    parent = value.pop("extends", None)
    if parent is None:
        return value
    base = _parent_config(path, str(parent))
    return _merge(_with_parents(base, (*seen, path.resolve())), value)


def _apply(settings: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise bad_input(f"--set {override}", "no key=value", "e.g. --set pretrain.epochs=3")
    *parents, last = key.split(".")
    node = settings
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise bad_input(f"--set {override}", f"{parent} is {child!r}", "a section of settings")
        node = child
    try:
        node[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        # PyYAML gives a plain ValueError for a date that does not exist.
        node[last] = text


def _known_keys(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """The keys allowed beside the one at `location`, found by walking the settings' types."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        types = [field.annotation, *get_args(field.annotation)]
        nested = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
        if nested:
            model = nested[0]
    return list(model.model_fields)


def _faults(error: ValidationError, path: Path) -> InputError:
    faults = Faults()
    for item in error.errors():
        location = [str(part) for part in item["loc"]]
        where = f"{path}: {'.'.join(location)}" if location else str(path)
        if item["type"] == "extra_forbidden":
            known = _known_keys(RunConfig, location)
            hint = nearest_name(location[-1], known)
            faults.add(where, "an unknown key", f"one of {', '.join(known)}", hint)
        elif item["type"] == "missing":
            faults.add(where, "nothing", "a value for this key")
        elif item["type"] == "value_error":
            faults.add(where, str(item["ctx"]["error"]), "settings that agree")
        elif item["type"] == NOT_REGISTERED:
            texts = item["ctx"]
            faults.add(where, texts["found"], texts["expected"], texts["hint"])
        else:
            faults.add(where, repr(item["input"]), item["msg"].removeprefix("Input should be "))
    return InputError(faults.faults)


NAMES_SPLIT = ("folds=", "folds.split=")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The resolved settings of a run, whose plugins are loaded first, from the config's folder.

    All faults together in one `InputError`.
    """
    found = find_config(path)
    settings = _with_parents(found)
    # A named split stands for its settings before any of them is changed.
    naming = [override for override in overrides if override.startswith(NAMES_SPLIT)]
    for override in naming:
        _apply(settings, override)
    if isinstance(settings.get("folds"), dict):
        own = dict(settings["folds"])
        settings["folds"] = _merge(named_split(own.pop("split", None), str(found)), own)
    for override in overrides:
        if override not in naming:
            _apply(settings, override)
    faults = Faults()
    settings = _expand(settings, str(found), faults)
    faults.raise_if_any()
    plugins = settings.get("plugins")
    if isinstance(plugins, list) and all(isinstance(name, str) for name in plugins):
        load_plugins(plugins, found.parent)
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise _faults(error, found) from None
