"""Errors for bad input: where it is, what was found, what is expected and a hint.

`Faults` collects them, so that all faults of an input are reported together, before any compute.
"""

from __future__ import annotations

import difflib
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LIBRARY_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError),
    *(RuntimeError, SystemError, TypeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)
"""Errors that libraries raise for damaged files, of which any byte may decide."""


@dataclass(frozen=True)
class Fault:
    """One fault of an input: where it is (file, variable), found, expected and the hint."""

    where: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}; expected {self.expected}"
        return f"{text}. {self.hint}" if self.hint else f"{text}."


class InputError(Exception):
    """Bad input, with every `Fault` found. The command line prints it and exits with code 2.

    >>> try:
    ...     raise bad_input("rain.nc: time", "no units", "a CF time axis", "Name the units.")
    ... except InputError as error:
    ...     print(error)
    rain.nc: time: found no units; expected a CF time axis. Name the units.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)


class Faults:
    """Faults collected during a check; `raise_if_any()` reports them together."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def add(self, where: str, found: str, expected: str, hint: str = "") -> None:
        """Record one fault."""
        self.faults.append(Fault(where, found, expected, hint))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Record the faults of an `InputError` raised in the block and continue after the block."""
        try:
            yield
        except InputError as error:
            self.faults += error.faults

    def raise_if_any(self) -> None:
        """Raise `InputError` with all recorded faults, if there are any."""
        if self.faults:
            raise InputError(self.faults)


def bad_input(where: str, found: str, expected: str, hint: str = "") -> InputError:
    """Return the `InputError` of a single fault, which the caller raises."""
    return InputError([Fault(where, found, expected, hint)])


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return a hint such as `Did you mean "precipitation"?`; empty if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'Did you mean "{close[0]}"?' if close else ""


def listed(names: Iterable[object]) -> str:
    """Return the number of names and the first five: `7 (a, b, c, d, e and 2 more)`."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return f"{len(texts)} ({', '.join(texts[:5])}{more})"
