"""Reading of a config file as `RunConfig`: parents, `--set`, environment variables."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, InputError, bad_input, nearest_name
from pipeline.core.plugins import load_plugins
from pipeline.core.safe_yaml import UnsafeYamlError, parse_yaml
from pipeline.core.settings import check_texts, expanded, read_mapping, validated
from pipeline.core.written.references import environment_value, name_folder, reference
from workflows.config.beside import with_own_files, with_own_legends
from workflows.config.merged import merged
from workflows.config.named_splits import named_split
from workflows.config.references import differing, with_descriptions
from workflows.config.schema import RunConfig


def find_config(path: str | Path) -> Path:
    """`path`, or the packaged config of that name (`quickstart`, `quickstart.yml`).

    Raises `InputError` where neither exists.
    """
    file = Path(path)
    if file.is_file():
        return file
    return _packaged_config(str(path), f"{file.parent}")


def _parent_config(child: Path, name: Any) -> Path:
    """The file that `extends: name` in `child` refers to: beside it, else a packaged config."""
    where = f"{child}: extends"
    if not isinstance(name, str) or not name:
        raise bad_input(where, repr(name), "the name of another config")
    beside = child.parent / name
    return beside if beside.is_file() else _packaged_config(name, f"{child.parent}", where)


def _packaged_config(name: str, searched: str, where: str = "") -> Path:
    packaged = Path(str(resources.files("workflows") / "configs"))
    names = sorted(item.stem for item in packaged.glob("*.yml"))
    stem = name.removesuffix(".yml")
    if stem in names:
        return packaged / f"{stem}.yml"
    raise bad_input(
        f"{where} {name}".strip(),
        f"no such file in {searched} and no packaged config of that name in {packaged}",
        f"a config file or one of {', '.join(names)}", nearest_name(Path(name).stem, names),
    )  # fmt: skip


def _with_parents(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in seen:
        raise bad_input(str(path), "a config that extends itself", "a chain that ends")
    value = with_own_files(read_mapping(path), path)
    parents = value.pop("extends", None)
    if parents is None:
        return value
    settings: dict[str, Any] = {}
    for parent in parents if isinstance(parents, list) else [parents]:
        base = _parent_config(path, parent)
        settings = merged(settings, _with_parents(base, (*seen, path.resolve())))
    return merged(settings, value)


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
        node[last] = parse_yaml(text.encode(errors="surrogateescape"), f"--set {key}")
    except UnsafeYamlError:
        raise
    except InputError:
        # A value that is not YAML is taken as text, such as `title=[draft] map`.
        node[last] = text


NAMES_SPLIT = ("folds=", "folds.split=")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The resolved and validated settings of a run.

    The plugins that it names are imported first, from the config's folder. Raises one `InputError`
    with all faults.
    """
    found = find_config(path)
    settings = _with_parents(found)
    # A named split is replaced by its settings before overrides change any of them.
    naming = [override for override in overrides if override.startswith(NAMES_SPLIT)]
    for override in naming:
        _apply(settings, override)
    if isinstance(settings.get("folds"), dict):
        folds = dict(settings["folds"])
        settings["folds"] = merged(named_split(folds.pop("split", None), found), folds)
    for override in overrides:
        if override not in naming:
            _apply(settings, override)
    settings = with_own_legends(settings, [found.parent])
    faults = Faults()
    values = expanded(settings, environment_value, str(found), faults)
    check_texts(values, str(found), faults)
    faults.raise_if_any()
    texts = expanded(settings, reference, str(found), faults)
    settings = with_descriptions(values, texts)
    plugins = settings.get("plugins")
    if isinstance(plugins, list) and all(isinstance(name, str) for name in plugins):
        load_plugins(plugins, found.parent)
    config = validated(RunConfig, settings, str(found))
    config.keep_references(differing(settings, texts))
    for name, folder in (("config", found.parent), *config.roots):
        name_folder(name, folder)
    return config
