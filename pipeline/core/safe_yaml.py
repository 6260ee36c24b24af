"""Safe reading of YAML from untrusted sources: plain values, limited in size and in depth.

Aliases can expand a kilobyte to gigabytes, deep nesting exhausts the stack of recursive functions,
and a duplicate key loses one of its values: all of them are refused.
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
"""A hundred times the size of the largest packaged catalog; PyYAML needs seconds for it."""
MAX_DEPTH = 40
"""Levels of nested mappings and lists; settings have about six."""
MAX_NUMBER = 100
"""Characters of a number or date: PyYAML reads `1:1:1…` (base 60) as integers of any size."""

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_WRONG_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors that PyYAML raises for a date that does not exist or a text that does not fit its tag."""


class UnsafeYamlError(InputError):
    """Well-formed YAML that is refused for safety."""


class _Refusal(yaml.YAMLError):
    """The reason why a guard refuses a text, and the position in it."""

    def __init__(self, mark: Any, found: str, expected: str, hint: str = "") -> None:
        super().__init__(found)
        self.mark, self.found, self.expected, self.hint = mark, found, expected, hint


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with guards that act before any value is constructed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            found, hint = f"the alias *{event.anchor}", "Write the value itself."
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
            # PyYAML itself refuses a key that is a list or a mapping.
            if isinstance(key, Hashable):
                if key in seen:
                    found = f'the duplicate key "{key}"'
                    raise _Refusal(node.start_mark, found, "each key once")
                seen.add(key)


def read_yaml(path: Path, expected: str = "YAML") -> Any:
    """Return the plain value in a YAML file; raises the errors of `parse_yaml`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise bad_input(str(path), str(error.strerror), expected) from None
    return parse_yaml(content, str(path), expected)


def parse_yaml(content: bytes, where: str, expected: str = "YAML") -> Any:
    """Return the plain value of a YAML text in UTF-8; None for an empty text.

    Raises `InputError`, with the line, for invalid YAML, and `UnsafeYamlError` for an alias, too
    many levels or bytes, a number that is too long, and a duplicate key of a mapping.
    """
    if len(content) > MAX_BYTES:
        size = f"{expected} of at most {MAX_BYTES:,} bytes"
        raise UnsafeYamlError([Fault(where, f"more than {MAX_BYTES:,} bytes", size)])
    try:
        return _value(content.decode())
    except UnicodeDecodeError as error:
        location = _at_line(where, content.count(b"\n", 0, error.start))
        raise bad_input(location, str(error), f"{expected} in UTF-8") from None
    except _Refusal as error:
        fault = Fault(_at_line(where, error.mark.line), error.found, error.expected, error.hint)
        raise UnsafeYamlError([fault]) from None
    except ReaderError as error:
        location = _at_line(where, content.decode().count("\n", 0, error.position))
        found = f"the unprintable character {chr(error.character)!r}"
        raise bad_input(location, found, expected) from None
    except yaml.MarkedYAMLError as error:
        location = _at_line(where, error.problem_mark.line) if error.problem_mark else where
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise bad_input(location, f"broken YAML ({reason})", expected) from None


def _value(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _at_line(where: str, lines_before: int) -> str:
    return f"{where}, line {lines_before + 1}"
