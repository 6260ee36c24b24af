"""YAML that anybody may have written, read safely: plain values, bounded in size and in depth.

An alias lets a kilobyte stand for gigabytes, depth exhausts the stack of whoever walks the values,
and of a key that stands twice one value is lost: all are refused. Downstream: settings.py and
whoever reads a catalog, a config, a legend or a value of the command line.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from pipeline.core.errors import Fault, InputError, bad_input

MAX_BYTES = 1_000_000
"""A hundred times the largest catalog that ships; PyYAML takes seconds to read as much."""
MAX_DEPTH = 40
"""Levels of mappings and lists within each other; settings have about six."""
MAX_NUMBER = 100
"""Characters of a number or date: of `1:1:1…` (base 60) PyYAML makes integers of any size."""

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_WRONG_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises on a date that does not exist, and on a text that does not fit its tag."""


class UnsafeYamlError(InputError):
    """YAML that is well-formed and refused all the same."""


class _Refusal(yaml.YAMLError):
    """Why a guard refuses a text, and where in it."""

    def __init__(self, mark: Any, found: str, expected: str, hint: str = "") -> None:
        super().__init__(found)
        self.mark, self.found, self.expected, self.hint = mark, found, expected, hint


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with guards, which act before anything is built from the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            found, hint = f"the alias *{event.anchor}", "Write the value out."
            raise _Refusal(event.start_mark, found, "no aliases", hint)
        if isinstance(event, yaml.CollectionStartEvent) and self.depth == MAX_DEPTH:
            found = f"values nested in more than {MAX_DEPTH} levels"
            raise _Refusal(event.start_mark, found, f"at most {MAX_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        is_number = isinstance(node, yaml.ScalarNode) and node.tag != _TEXT
        if is_number and len(node.value) > MAX_NUMBER:
            found = f"a number or date of {len(node.value)} characters"
            raise _Refusal(node.start_mark, found, f"at most {MAX_NUMBER} characters")
        try:
            return super().construct_object(node, deep)
        except _WRONG_VALUE as error:
            reason = f": {error}" if isinstance(error, ValueError) else ""
            problem = f'"{str(node.value)[:40]}" is no valid {node.tag.rpartition(":")[2]}{reason}'
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            self._refuse_repeated([key for key, _ in node.value if key.tag != _MERGE])
        return super().construct_mapping(node, deep)

    def _refuse_repeated(self, nodes: list[yaml.Node]) -> None:
        seen: set[Hashable] = set()
        for node in nodes:
            key = self.construct_object(node, deep=True)
            # A key that is itself a list or a mapping is refused by PyYAML.
            if isinstance(key, Hashable):
                if key in seen:
                    found = f'the key "{key}" for the second time'
                    raise _Refusal(node.start_mark, found, "each key once")
                seen.add(key)


def read_yaml(path: Path, expected: str = "YAML") -> Any:
    """The plain value in a YAML file; raises what `parse_yaml` raises."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise bad_input(str(path), str(error.strerror), expected) from None
    return parse_yaml(content, str(path), expected)


def parse_yaml(content: bytes, where: str, expected: str = "YAML") -> Any:
    """The plain value that a YAML text in UTF-8 stands for; None for an empty one.

    Raises `InputError`, with the line, for what is no YAML, and `UnsafeYamlError` for an alias, too
    much depth or size, a number without end, and a key that stands twice in a mapping.
    """
    if len(content) > MAX_BYTES:
        size = f"{expected} of at most {MAX_BYTES:,} bytes"
        raise UnsafeYamlError([Fault(where, f"more than {MAX_BYTES:,} bytes", size)])
    try:
        return _value(content.decode())
    except UnicodeDecodeError as error:
        place = _place(where, content.count(b"\n", 0, error.start))
        raise bad_input(place, str(error), f"{expected} in UTF-8") from None
    except _Refusal as error:
        fault = Fault(_place(where, error.mark.line), error.found, error.expected, error.hint)
        raise UnsafeYamlError([fault]) from None
    except ReaderError as error:
        place = _place(where, content.decode().count("\n", 0, error.position))
        found = f"the unprintable character {chr(error.character)!r}"
        raise bad_input(place, found, expected) from None
    except yaml.MarkedYAMLError as error:
        place = _place(where, error.problem_mark.line) if error.problem_mark else where
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise bad_input(place, f"broken YAML ({reason})", expected) from None


def _value(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _place(where: str, lines_before: int) -> str:
    return f"{where}, line {lines_before + 1}"
