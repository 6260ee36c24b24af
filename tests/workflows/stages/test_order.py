"""What makes a stage run again: its settings, its outputs, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.core.errors import InputError
from workflows import fingerprints
from workflows.commands import status
from workflows.commands.plan import planned_states
from workflows.run import Run
from workflows.stages import order as stages

NEEDS = {"mosaic": (), "publish": ("mosaic",), "score": ("publish",), "report": ("score",)}


@dataclass
class FakeStage:
    """Writes one file; `score` writes it into the folder of `publish`, as the real one does."""

    name: str
    setting: str = "a"
    ran: list[str] = field(default_factory=list)

    def outputs(self, run: Run) -> list[Path]:
        return [run.folder / "maps" / "sites" if self.name == "score" else self._own(run)]

    def _own(self, run: Run) -> Path:
        return run.folder / ("maps" if self.name == "publish" else self.name)

    def main(self, run: Run) -> dict[str, Any]:
        self.ran.append(self.name)
        (path,) = self.outputs(run)
        if self.name == "publish":
            path = path / "map"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made")
        return {}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeStage]]:
    ran: list[str] = []
    order = dict(fingerprints.NEEDS)
    made = {name: FakeStage(name, ran=ran) for name in NEEDS}
    for name in NEEDS:
        monkeypatch.setitem(fingerprints.NEEDS, name, NEEDS[name])
        monkeypatch.setitem(fingerprints.DEPENDS, name, lambda run, stage=made[name]: stage.setting)
    for name in set(fingerprints.NEEDS) - set(NEEDS):
        monkeypatch.delitem(fingerprints.NEEDS, name)
    monkeypatch.setattr(stages, "stage_module", made.get)
    yield made
    # What was taken out would else come back at the end: the order of stages is that of the keys.
    fingerprints.NEEDS.clear()
    fingerprints.NEEDS.update(order)


def run_all(
    folder: Path, fakes: dict[str, FakeStage], *names: str, resume: bool = True
) -> list[str]:
    """Run these stages, or all; returns those that were not skipped."""
    fakes["mosaic"].ran.clear()
    for name in names or NEEDS:
        stages.run_stage_by_name(a_run(folder, resume), name)
    return list(fakes["mosaic"].ran)


def a_run(folder: Path, resume: bool = True) -> Run:
    config = SimpleNamespace(name="test", plugins=())
    return cast(
        Run, SimpleNamespace(folder=folder, resume=resume, part=(1, 1), config=config)
    )  # fmt: skip


def test_a_restarted_stage_makes_those_after_it_run_again(
    tmp_path: Path, fakes: dict[str, FakeStage], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_all(tmp_path, fakes) == list(NEEDS)
    assert run_all(tmp_path, fakes) == []
    assert run_all(tmp_path, fakes, "publish", resume=False) == ["publish"]
    assert "so do the stages that depend on it: score, report" in capsys.readouterr().err
    assert not (tmp_path / "maps" / "sites").exists()
    assert run_all(tmp_path, fakes) == ["score", "report"]
    assert (tmp_path / "maps" / "sites").exists()


def test_settings_that_change_and_change_back_make_those_after_run_again(
    tmp_path: Path, fakes: dict[str, FakeStage]
) -> None:
    run_all(tmp_path, fakes)
    fakes["publish"].setting = "b"
    assert run_all(tmp_path, fakes, "publish") == ["publish"]
    fakes["publish"].setting = "a"
    assert run_all(tmp_path, fakes) == ["publish", "score", "report"]


def test_a_stage_whose_output_is_gone_is_not_finished(
    tmp_path: Path, fakes: dict[str, FakeStage]
) -> None:
    run_all(tmp_path, fakes)
    (tmp_path / "maps" / "sites").unlink()
    with pytest.raises(InputError, match=r"stage score whose maps/sites is missing"):
        run_all(tmp_path, fakes, "report")
    states = [state for _, state in planned_states(a_run(tmp_path), list(NEEDS))]
    assert status.stages(tmp_path)["score"]["state"] == "output gone"
    assert status.stages(tmp_path)["report"]["state"] == "finished"
    assert states == ["finished, skipped", "finished, skipped", "would run", "would run"]
    assert run_all(tmp_path, fakes) == ["score", "report"]
    (tmp_path / "mosaic").unlink()
    assert run_all(tmp_path, fakes) == list(NEEDS)


def test_a_stage_mended_in_part_leaves_those_after_it_what_they_have(
    tmp_path: Path, fakes: dict[str, FakeStage]
) -> None:
    run_all(tmp_path, fakes)
    (tmp_path / ".stages" / "mosaic.finished.json").unlink()
    (tmp_path / "maps" / "kept").write_text("")
    assert run_all(tmp_path, fakes) == list(NEEDS)
    assert (tmp_path / "maps" / "kept").exists()
