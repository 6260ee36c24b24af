"""Every command's help ends with examples that can be typed as they stand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.workflows.tiny import write_tiny
from workflows.cli import app, main

ROOT_COMMAND: Any = typer.main.get_command(app)
CHEAP = ("check", "plan", "status", "doctor", "catalog")


def commands(group: Any = ROOT_COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its name, such as `catalog list`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def examples(command: Any) -> list[list[str]]:
    """The words of each example of a command."""
    head, *lines = command.epilog.split("\n\n")
    assert head in ("Example:", "Examples:")
    return [shlex.split(line) for line in lines]


def texts(command: Any) -> Iterator[str]:
    """The help of a command and of all its parameters."""
    yield command.help
    for parameter in command.params:
        yield parameter.help


COMMANDS = dict(commands())
EXAMPLES = [words for command in COMMANDS.values() for words in examples(command)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_examples_of_its_own_command(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        main([*name.split(), "--help"])
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    commands = examples(COMMANDS[name])
    assert commands
    for words in commands:
        assert " ".join(words[1:]).startswith(name)
        assert shlex.join(words) in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_text_is_a_sentence(name: str) -> None:
    for text in texts(COMMANDS[name]):
        assert text[0].isupper()
        assert text.endswith((".", ")"))
        assert text.split()[0] not in ("Of", "In", "None", "By", "With")


@pytest.mark.parametrize("words", EXAMPLES, ids=shlex.join)
def test_examples_are_parsed(words: list[str]) -> None:
    program, *rest = words
    assert program == "stefaland"
    context = ROOT_COMMAND.make_context("stefaland", list(rest))
    command = ROOT_COMMAND
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
    assert not context.args


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands for the demo's names: a config, a catalog, a source and a run of few cells."""
    folder = tmp_path_factory.mktemp("tiny")
    config = write_tiny(folder)
    markers = folder / "runs" / "tiny" / ".stages"
    markers.mkdir(parents=True)
    (markers / "regrid.finished.json").write_text(json.dumps({"seconds": 3.0, "outputs": []}))
    return {
        "quickstart": str(config), "quickstart.yml": str(folder / "catalog.yml"),
        "koppen": "height", "runs/quickstart": str(markers.parent),
        "era5_land/*.nc": str(folder / "r*n.nc"), "dem.tif": str(folder / "height.nc"),
        "stations.csv": str(folder / "moisture.nc"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "words", [words for words in EXAMPLES if words[1] in CHEAP], ids=shlex.join
)
def test_cheap_examples_run(
    words: list[str], stand_ins: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEFALAND_DATA", str(Path(stand_ins["quickstart"]).parent))
    with pytest.raises(SystemExit) as stopped:
        main([stand_ins.get(word, word) for word in words[1:]])
    assert not stopped.value.code
