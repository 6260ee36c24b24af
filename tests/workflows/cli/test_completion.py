"""What the shell offers on Tab."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from workflows.cli import app
from workflows.cli.completion import STAGES, complete_catalog, complete_config
from workflows.fingerprints import NEEDS


def offered(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    environment = {
        "_STEFALAND_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["stefaland", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = CliRunner().invoke(app, [], env=environment, prog_name="stefaland")
    return done.stdout.split()


def test_stages_are_those_of_a_run() -> None:
    assert list(NEEDS) == list(STAGES)


def test_the_shell_is_offered_commands_configs_stages_and_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered("pr") == ["pretrain", "predict"]
    assert offered("run", "conus") == [
        "conus_smap",
        "conus_smap_all",
        "conus_texture",
        "conus_tiny",
    ]
    assert offered("run", "quickstart", "--until", "p") == ["pretrain", "predict", "publish"]
    assert offered("-v", "run", "quickstart", "--cluster", "s") == ["slurm"]
    assert offered("catalog", "list", "quick") == ["quickstart.yml"]


def test_files_and_folders_are_offered_beside_packaged_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.yml").write_text("")
    (tmp_path / "quick.txt").write_text("")
    (tmp_path / "quicker").mkdir()
    (tmp_path / "quicker" / "a.yaml").write_text("")
    assert complete_config("quick") == ["quickstart", "quick.yml", "quicker/"]
    assert complete_config("quicker/") == ["quicker/a.yaml"]
    assert complete_catalog("quick") == ["quickstart.yml", "quick.yml", "quicker/"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without this typer asks which shell has started the tests.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    arguments = ["--show-completion", shell]
    done = CliRunner().invoke(app, arguments, prog_name="stefaland")
    assert done.exit_code == 0
    assert "_STEFALAND_COMPLETE=complete_" + shell in done.stdout
