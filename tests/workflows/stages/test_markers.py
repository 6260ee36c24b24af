"""Stage markers and the lock of a run folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.files import read_json, write_json
from workflows.stages.markers import StageState, run_lock


def test_a_finished_stage_is_finished_only_under_its_fingerprint(tmp_path: Path) -> None:
    state = StageState(tmp_path, "regrid", "a")
    state.start([], resume=True)
    assert not state.is_finished
    state.finish(1.0, 5, {"tiles": 2})
    assert state.is_finished
    assert state.record()["result"] == {"tiles": 2}
    assert not StageState(tmp_path, "regrid", "b").is_finished


def test_what_version_0_2_0_finished_stays_finished_under_its_own_fingerprint(
    tmp_path: Path,
) -> None:
    before = StageState(tmp_path, "finetune", "old")
    before.start([], resume=True)
    before.finish(1.0, 5, {})

    def now() -> StageState:
        return StageState(tmp_path, "finetune", "new", lambda: "old")

    assert not now().was_finished, "results of a later version differ"
    for kind in ("started", "finished"):
        marker = tmp_path / ".stages" / f"finetune.{kind}.json"
        record = read_json(marker)
        del record["version"]
        write_json(marker, record)
    assert now().was_finished
    assert now().is_started


def test_outputs_of_other_settings_are_removed_and_of_the_same_kept(tmp_path: Path) -> None:
    output = tmp_path / "cubes"
    output.mkdir()
    StageState(tmp_path, "regrid", "a").start([output], resume=True)
    assert not output.exists()
    output.mkdir()
    StageState(tmp_path, "regrid", "a").start([output], resume=True)
    assert output.exists()
    StageState(tmp_path, "regrid", "b").start([output], resume=True)
    assert not output.exists()
    output.mkdir()
    StageState(tmp_path, "regrid", "b").start([output], resume=False)
    assert not output.exists()


def test_a_second_run_on_one_folder_is_refused(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path),
        pytest.raises(InputError, match=f"process {os.getpid()}"),
        run_lock(tmp_path),
    ):
        pass
    with run_lock(tmp_path):
        pass


def test_an_unwritable_run_folder_is_one_clear_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(InputError, match="cannot be written"), run_lock(blocker / "run"):
        pass


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": 1})
    assert read_json(tmp_path / "a" / "b.json") == {"x": 1}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.json"]
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="a JSON file"):
        read_json(tmp_path / "bad.json")


@pytest.mark.parametrize("outputs", ["0", "[[]]", '"a"', '["\\u0000"]'])
def test_outputs_of_a_marker_are_names(tmp_path: Path, outputs: str) -> None:
    (tmp_path / ".stages").mkdir()
    for kind in ("started", "finished"):
        marker = tmp_path / ".stages" / f"regrid.{kind}.json"
        marker.write_text(f'{{"fingerprint": "f", "outputs": {outputs}}}')
    with pytest.raises(InputError, match="names of files of the run"):
        _ = StageState(tmp_path, "regrid", "f").is_finished
