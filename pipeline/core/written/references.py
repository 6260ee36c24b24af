"""References in what is written and printed: `${TOKEN}`, `${data}/rain.nc`, `~/runs`.

Values of the environment may be secrets, and absolute paths name people and machines. What is
written to files goes through `as_written`; messages, which may quote anything, go through
`as_printed`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.core.written.characters import printable

SECRET = re.compile(r"TOKEN|SECRET|PASS|PWD|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
"""Parts of the names of environment variables that hold secrets."""
CREDENTIALS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"),
    *("AZURE_STORAGE_SAS_TOKEN", "CDSAPI_KEY", "EARTHDATA_TOKEN"),
)
"""Environment variables that are read without being named in a config."""
WHOLE = 8
"""Length from which a value is also replaced within a word; shorter ones only as a whole word."""

_COMMON = re.compile(r"[A-Z]?[a-z_]+|[A-Z_]{,7}|[\d.,:+-]+")
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]+(?::[^\s/@]*)?@", re.IGNORECASE)
_QUERY = re.compile(
    r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>\\]*?(?=[.,;:)\]]*(?:[\s\"'<>\\]|$))", re.IGNORECASE
)

_values: dict[str, str] = {}
"""Values of the environment that settings of this process contain, by the variable's name."""
_folders: dict[str, str] = {}
"""Absolute paths of folders by the name under which their files are written, such as `data`."""
_shown: set[str] = set()
"""Holds "paths" where absolute paths are written as they are."""


def environment_value(name: str) -> str:
    """Return the value of an environment variable, which is written as `${name}` from now on.

    Raises `LookupError` with what is expected and a hint where it is not set.
    """
    if name not in os.environ:
        raise LookupError("an environment variable that is set", f"Run `export {name}=...` first.")
    _values[name] = os.environ[name]
    return os.environ[name]


def reference(name: str) -> str:
    """Return `${name}` where the environment variable is set, else raise as `environment_value`."""
    environment_value(name)
    return f"${{{name}}}"


def environment_values() -> dict[str, str]:
    """Return the values that are written as `${name}`, by name, for another process."""
    return dict(_values)


def add_environment_values(values: Mapping[str, str]) -> None:
    """Write the values of another process's environment as `${name}` from now on."""
    _values.update(values)


def name_folder(name: str, path: str | Path) -> None:
    """Write the paths of all files below a folder as `${name}/…` from now on."""
    _folders[name] = os.path.abspath(path)


def show_paths(shown: bool) -> None:
    """Set whether absolute paths are written and printed as they are."""
    _shown.clear()
    _shown.update(["paths"] if shown else [])


def as_written(value: Any, folders: bool = True) -> Any:
    """Return plain values (mappings, lists, texts) as they are written to files.

    Values of the environment become `${NAME}`, the paths of files in named folders `${data}/…` and
    those below the home folder `~/…`; without `folders` paths stay, for files that are read again.

    >>> name_folder("data", "/archive/forcings")
    >>> as_written({"uri": ["/archive/forcings/rain.nc", "rain.nc"]})
    {'uri': ['${data}/rain.nc', 'rain.nc']}
    """
    return _walked(value, _replacement(_all_folders() if folders else {}))


def as_printed(text: str) -> str:
    """Return a message without values of the environment and credentials in addresses.

    It is `printable`. The path of the home folder becomes `~`, unless paths are shown.

    >>> as_printed("no answer from https://user:pw@server.org/rain.nc?signature=abc.")
    'no answer from https://server.org/rain.nc.'
    """
    replaced = _replacement(_home())(text)
    return printable(_QUERY.sub(r"\1", _USER.sub(r"\1", replaced)))


def _walked(value: Any, replaced: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replaced(value)
    if isinstance(value, Mapping):
        return {key: _walked(item, replaced) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(item, replaced) for item in value]
    return value


def _home() -> dict[str, str]:
    """Path of the home folder by its name; empty where there is none or paths are shown."""
    path = os.path.expanduser("~").rstrip("/")
    return {"~": path} if path.startswith("/") and not _shown else {}


def _all_folders() -> dict[str, str]:
    """Paths of the named folders by their names; empty where paths are shown."""
    named = {} if _shown else {f"${{{name}}}": path for name, path in _folders.items()}
    return {**_home(), **named}


def _replacement(folders: Mapping[str, str]) -> Callable[[str], str]:
    """Return the function that puts references into a text."""
    credentials = {name: os.environ[name] for name in CREDENTIALS if name in os.environ}
    known = {**credentials, **_values}
    return _compiled(tuple(known.items()), tuple(folders.items()))


@lru_cache(maxsize=8)
def _compiled(
    values: tuple[tuple[str, str], ...], folders: tuple[tuple[str, str], ...]
) -> Callable[[str], str]:
    references: dict[str, str] = {}
    for name, value in values:
        if _can_be_found(name, value):
            references |= dict.fromkeys(_spellings(value), f"${{{name}}}")
    patterns = {text: _value_pattern(text) for text in references}
    for name, path in folders:
        for spelling in {path, os.path.realpath(path)} - {"/"}:
            references[spelling] = name
            patterns[spelling] = rf"(?<![\w.~$}}-]){re.escape(spelling)}(?![\w-]|\.\w)"
    if not patterns:
        return lambda text: text
    # The longest first: a folder within another, or a value within another, has its own name.
    found = re.compile("|".join(patterns[text] for text in sorted(patterns, key=len, reverse=True)))
    return lambda text: found.sub(lambda match: references[match[0]], text)


def _can_be_found(name: str, value: str) -> bool:
    """Whether a value is so unlike other texts that replacing it everywhere garbles none of them.

    Short values, words such as a variable's name, abbreviations and numbers are not, unless the
    name of the variable is that of a secret.
    """
    if SECRET.search(name):
        return len(value) >= 4
    return len(value) >= 6 and not _COMMON.fullmatch(value)


def _spellings(value: str) -> Iterator[str]:
    """Yield a value, and the value as it is quoted in Python, JSON, URLs and the shell."""
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value)
    yield quote(value, safe="")
    yield shlex.quote(value)


def _value_pattern(text: str) -> str:
    escaped = re.escape(text)
    return escaped if len(text) >= WHOLE else rf"(?<!\w){escaped}(?!\w)"
