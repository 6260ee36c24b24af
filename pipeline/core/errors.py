"""The one way this package says that an input is bad: found, expected, what to do.

Collected with `Faults` so that all faults of an input are reported together, before any compute.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where (file, variable), found, expected and the hint."""

    where: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}; expected {self.expected}"
        return f"{text}. {self.hint}" if self.hint else f"{text}."


class InputError(Exception):
    """Bad user input; carries every `Fault` found. The command line prints it and exits with 2."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)


class Faults:
    """Collects faults while checking; `raise_if_any()` reports them together."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def add(self, where: str, found: str, expected: str, hint: str = "") -> None:
        """Record one fault."""
        self.faults.append(Fault(where, found, expected, hint))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Record the faults of an `InputError` raised inside, and go on after it."""
        try:
            yield
        except InputError as error:
            self.faults += error.faults

    def raise_if_any(self) -> None:
        """Raise `InputError` with all recorded faults, if there are any."""
        if self.faults:
            raise InputError(self.faults)


def bad_input(where: str, found: str, expected: str, hint: str = "") -> InputError:
    """The `InputError` of a single fault, to be raised by the caller."""
    return InputError([Fault(where, found, expected, hint)])


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint such as `Did you mean "precipitation"?`; empty where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'Did you mean "{close[0]}"?' if close else ""


def listed(names: Iterable[object]) -> str:
    """How many and which: `7 (a, b, c, d, e and 2 more)`."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return f"{len(texts)} ({', '.join(texts[:5])}{more})"
