"""Registries of named parts, which installed packages and modules beside a config can extend.

A package adds a part by an entry point in the registry's group; a module that a config lists under
`plugins:` adds it by calling `register`. Neither needs a change of this package.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline.core.errors import Faults, InputError, bad_input, nearest_name

T = TypeVar("T")

PACKAGES = ("pipeline", "stefaland", "workflows")
"""Packages whose parts are built in."""
NOT_REGISTERED = "not_registered"
"""Type of pydantic's error for a setting that names an unknown part."""

_LOADED: dict[str, str] = {}
"""Plugins that `load_plugins` has imported: name or absolute path → name of the module."""


class Registry(Generic[T]):
    """Parts of one kind by name: built in, registered, or provided by installed packages.

    `kind` is the word for a part in messages, such as "driver"; `group` is the group of entry
    points, such as "stefaland.readers". `builtin` lists parts of this package as
    "module:attribute". A part that is built in or provided is imported at its first use.

    >>> losses = Registry("loss", "stefaland.losses")
    >>> losses.register("absolute", abs)
    >>> losses.get("absolute")(-1.5)
    1.5
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._values: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._builtin = {
            name: EntryPoint(name, value, group) for name, value in (builtin or {}).items()
        }
        self._installed: dict[str, list[EntryPoint]] | None = None

    def register(self, name: str, value: T) -> None:
        """Add a part; raises `InputError` if another part has the name."""
        if name in self._builtin or self._values.get(name, value) is not value:
            raise bad_input(
                self.kind, f'a second {self.kind} "{name}"', "a unique name",
                f"Names in use: {', '.join(self.names())}.",
            )  # fmt: skip
        module = str(sys._getframe(1).f_globals.get("__name__", ""))
        if module.partition(".")[0] not in PACKAGES:
            self._origins.setdefault(name, module)
        self._values[name] = value

    def names(self) -> list[str]:
        """Return the names of all parts, sorted, without importing any."""
        return sorted({*self._values, *self._builtin, *self._offers()})

    def get(self, name: str, where: str = "") -> T:
        """Return the part of that name.

        Raises `InputError`, located at `where`, for an unknown name (with the nearest name and the
        packages searched), a name that two packages provide, and a part whose import fails.
        """
        if name not in self._values:
            value = self._import(name, where or self.kind)
            # The import itself may have registered it, as a plugin does.
            self._values.setdefault(name, value)
        return self._values[name]

    def origin(self, name: str) -> str:
        """Return the module outside this package that adds the part; empty for built-in parts.

        Raises `InputError` as `get` does.
        """
        self.get(name)
        return self._origins.get(name, "")

    def _import(self, name: str, where: str) -> T:
        if name in self._builtin:
            value: T = self._builtin[name].load()
            return value
        offers = self._offers().get(name, [])
        if not offers:
            known = self.names()
            hint = f"{nearest_name(name, known)} {self._searched()}".strip()
            raise bad_input(where, f'no {self.kind} "{name}"', f"one of {', '.join(known)}", hint)
        if len(offers) > 1:
            raise bad_input(
                where, f'{self.kind} "{name}" of the packages {", ".join(map(_package, offers))}',
                "a name that one package provides", "Uninstall all but one of them.",
            )  # fmt: skip
        try:
            value = offers[0].load()
        except Exception as error:  # external code may raise anything
            raise bad_input(
                where, f'{self.kind} "{name}", whose import fails ({_failure(error)})',
                f"an entry point that works, {offers[0].value}",
                f"Repair or uninstall the package {_package(offers[0])}.",
            ) from error  # fmt: skip
        self._origins.setdefault(name, offers[0].module)
        return value

    def _offers(self) -> dict[str, list[EntryPoint]]:
        """Return the entry points of installed packages by name; they are looked up once."""
        if self._installed is None:
            found: dict[str, list[EntryPoint]] = {}
            for point in entry_points(group=self.group):
                if point.name not in self._builtin:
                    found.setdefault(point.name, []).append(point)
            self._installed = found
        return self._installed

    def _searched(self) -> str:
        """Return a sentence that lists what was searched besides this package."""
        packages = sorted({_package(p) for points in self._offers().values() for p in points})
        found = [
            *(f"the installed package {name}" for name in packages),
            *(f"the plugin {name}" for name in _LOADED.values()),
        ]
        if not found:
            return f"No installed package (entry points {self.group}) and no plugin adds one."
        return f"Searched besides this package: {', '.join(found)}."


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _failure(error: Exception) -> str:
    """Return the text of an error of external code, with the line that raised it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}, in {last.filename}, line {last.lineno}"


def registered(registry: Registry[Any]) -> AfterValidator:
    """Return a pydantic validator for a setting that names a part: `Annotated[str, ...]`.

    The error for an unknown name has the type `NOT_REGISTERED` and the fault's texts as context.
    """

    def check(name: str) -> str:
        try:
            registry.get(name)
        except InputError as error:
            fault = error.faults[0]
            texts = {"found": fault.found, "expected": fault.expected, "hint": fault.hint}
            message = "Input should be {expected}. {hint}"
            raise PydanticCustomError(NOT_REGISTERED, message, texts) from None
        return name

    return AfterValidator(check)


def load_plugins(names: Sequence[str], folder: Path) -> None:
    """Import the modules listed under `plugins:` of a config in `folder`; they register parts.

    A name stands for a module or package in `folder`, or else for an installed one; it may begin
    with a path, as in `../shared/my_module`. `folder` is appended to `sys.path`.
    Raises `InputError` with all modules that are missing or whose import fails.
    """
    faults = Faults()
    for name in names:
        with faults.collecting():
            _load_plugin(name, Path(folder).resolve())
    faults.raise_if_any()


def loaded_plugins() -> tuple[str, ...]:
    """Return every loaded plugin in order, as names that `load_plugins` accepts for any folder."""
    return tuple(_LOADED)


def plugin_digests() -> dict[str, str]:
    """Return the SHA-256 of the file of every loaded plugin by module, for fingerprints."""
    files = {name: sys.modules[name].__file__ for name in _LOADED.values()}
    return {
        name: hashlib.sha256(Path(file).read_bytes()).hexdigest()
        for name, file in sorted(files.items())
        if file
    }


def _load_plugin(entry: str, folder: Path) -> None:
    path = folder / entry
    name, beside = path.name.removesuffix(".py"), path.parent.resolve()
    where = f'plugin "{entry}"'
    if not all(part.isidentifier() for part in name.split(".")):
        raise bad_input(where, "not a module name", "a name such as my_module, for my_module.py")
    files = [file for file in (beside / f"{name}.py", beside / name / "__init__.py")
             if file.is_file()]  # fmt: skip
    if files and str(beside) not in sys.path:
        # Last, so that no file there hides an installed module.
        sys.path.append(str(beside))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except InputError:
        raise
    except Exception as error:  # external code may raise anything
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            there = [file.stem for file in beside.glob("*.py")]
            raise bad_input(
                where, f"no such module, neither in {beside} nor installed",
                f"a file {name}.py beside the config", nearest_name(name, there),
            ) from None  # fmt: skip
        raise bad_input(
            where, f"a module that cannot be imported ({_failure(error)})",
            "a module whose import succeeds", "Repair it, or remove it from `plugins`.",
        ) from error  # fmt: skip
    if files and Path(str(module.__file__)).resolve() != files[0].resolve():
        raise bad_input(
            where, f"another module of this name, {module.__file__}", str(files[0]),
            "Rename the file to a name that no installed module has.",
        )  # fmt: skip
    _LOADED[str(beside / name) if files else name] = name
