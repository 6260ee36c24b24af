"""Commands that hints name exist, with their options, and none leaves the command to be guessed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tests.conftest import ROOT
from workflows.cli.entry import app

PACKAGES = ("pipeline", "stefaland", "workflows")


def texts(path: Path) -> Iterator[str]:
    """Every text in a module; in f-strings `X` stands for values."""
    tree = ast.parse(path.read_text())
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in inside:
            yield str(node.value)


def hints() -> dict[str, str]:
    """Commands in backticks by the module that names them."""
    return {
        command: str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for text in texts(path)
        for command in re.findall(r"`(stefaland [a-z][^`]*)`", text)
    }


@pytest.mark.parametrize(("command", "module"), sorted(hints().items()))
def test_a_command_in_a_hint_can_be_typed(command: str, module: str) -> None:
    words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    while words and hasattr(group, "commands"):
        name = words.pop(0)
        assert name in group.commands, f"{module}: {command}"
        group = group.commands[name]
    known = {option for one in group.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known, f"{module}: {command}"


def test_no_hint_leaves_the_command_to_be_guessed() -> None:
    vague = re.compile(r"run (the|this|that) stage|stage (again|first)\b", re.IGNORECASE)
    found = [
        (str(path.relative_to(ROOT)), text)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for text in texts(path)
        if vague.search(text) and not _is_docstring(path, text)
    ]
    assert found == []


def _is_docstring(path: Path, text: str) -> bool:
    nodes = (
        node for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    )  # fmt: skip
    return text in {ast.get_docstring(node, clean=False) for node in nodes}
