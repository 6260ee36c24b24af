"""Which files of a run folder a stage removes when it starts anew, and which it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.files import write_json
from pipeline.execution.ledger import Ledger
from workflows.stages.markers import StageState, run_lock
from workflows.stages.owned import found_files, require_inside, require_run_folder


def written(folder: Path, *names: str) -> list[Path]:
    """Files of these names below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return [folder / name for name in names]


def left(folder: Path) -> list[str]:
    """Names of all files, without markers."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if ".stages" not in path.parts)


def test_a_finished_stage_removes_what_it_wrote_and_nothing_else(tmp_path: Path) -> None:
    outputs = [tmp_path / "pretrained", tmp_path / "card.json", tmp_path / "maps/rain_*.tif"]
    state = StageState(tmp_path, "publish", "a")
    state.start(outputs, resume=True)
    written(tmp_path, "pretrained/a/model.safetensors", "pretrained/a/log.jsonl", "card.json",
            "maps/rain_1.tif")  # fmt: skip
    state.finish(1.0, 1, {}, outputs)
    written(tmp_path, "pretrained/a/notes.txt", "pretrained/mine.json", "maps/snow.tif",
            "maps/rain_1.tif.aux.xml")  # fmt: skip
    StageState(tmp_path, "publish", "b").start(outputs, resume=True)
    assert left(tmp_path) == [
        "maps/rain_1.tif.aux.xml", "maps/snow.tif", "pretrained/a/notes.txt", "pretrained/mine.json"
    ]  # fmt: skip


def test_files_that_were_there_before_a_stage_are_never_its_own(tmp_path: Path) -> None:
    outputs = [tmp_path / "pretrained"]
    written(tmp_path, "pretrained/mine.json")
    state = StageState(tmp_path, "pretrain", "a")
    state.start(outputs, resume=True)
    written(tmp_path, "pretrained/a/config.json")
    StageState(tmp_path, "pretrain", "b").start(outputs, resume=True)
    assert left(tmp_path) == ["pretrained/mine.json"]
    state = StageState(tmp_path, "pretrain", "b")
    written(tmp_path, "pretrained/a/config.json")
    state.finish(1.0, 1, {}, outputs)
    manifest = state.manifest()
    assert manifest is not None
    assert [*manifest.files] == ["pretrained/a/config.json"]


def test_an_interrupted_stage_removes_only_names_that_stages_write(tmp_path: Path) -> None:
    outputs = [tmp_path / "cubes" / "a.zarr"]
    StageState(tmp_path, "regrid", "a").start(outputs, resume=True)
    written(tmp_path, "cubes/a.zarr/zarr.json", "cubes/a.zarr/rain/c/0/1", "cubes/thesis.docx")
    other = [tmp_path / "cubes" / "b.zarr"]
    StageState(tmp_path, "regrid", "b").start(other, resume=True)
    assert left(tmp_path) == ["cubes/thesis.docx"]


def test_a_file_that_would_be_replaced_is_refused_before_anything_is_removed(
    tmp_path: Path,
) -> None:
    outputs = [tmp_path / "stats" / "*.json", tmp_path / "a.zarr"]
    written(tmp_path, "stats/table.json", "a.zarr/notes")
    with pytest.raises(InputError, match=r"2 \(stats/table\.json, a\.zarr/notes\)"):
        StageState(tmp_path, "stats", "a").start(outputs, resume=True)
    assert left(tmp_path) == ["a.zarr/notes", "stats/table.json"]


def test_runs_of_0_2_0_have_no_marker_of_a_stage_that_has_to_run_again(tmp_path: Path) -> None:
    write_json(tmp_path / ".stages/regrid.started.json", {"fingerprint": "a"})
    written(tmp_path, "stats/fold0.json")
    StageState(tmp_path, "stats", "a").start([tmp_path / "stats" / "*.json"], resume=True)
    assert left(tmp_path) == []


def test_a_withdrawn_stage_still_knows_its_files(tmp_path: Path) -> None:
    outputs = [tmp_path / "stats" / "*.json"]
    StageState(tmp_path, "stats", "a").start(outputs, resume=True)
    written(tmp_path, "stats/fold0.json")
    StageState(tmp_path, "stats", "").withdraw()
    assert not StageState(tmp_path, "stats", "a").is_started
    StageState(tmp_path, "stats", "b").start(outputs, resume=True)
    assert left(tmp_path) == []


def test_a_file_that_a_later_stage_writes_anew_is_sealed_by_it(tmp_path: Path) -> None:
    (project,) = written(tmp_path, "maps/a.qgz")
    publish, score = (StageState(tmp_path, name, "a") for name in ("publish", "score"))
    project.unlink()
    publish.start([tmp_path / "maps/*.png", project], resume=True)
    written(tmp_path, "maps/a.qgz", "maps/a.png")
    publish.finish(1.0, 1, {}, [tmp_path / "maps/*.png", project])
    score.start([project], resume=True)
    assert publish.damage(deep=True) == []
    project.write_text("with sites")
    score.finish(1.0, 1, {}, [project])
    assert publish.damage(deep=True) == []
    project.write_text("with mites")
    assert [one.file for one in score.damage(deep=True)] == ["maps/a.qgz"]
    assert StageState(tmp_path, "publish", "a").is_finished


def test_links_are_not_followed(tmp_path: Path) -> None:
    written(tmp_path, "elsewhere/precious.json")
    run = tmp_path / "run"
    (run / "pretrained").mkdir(parents=True)
    (run / "pretrained/a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link to"):
        require_inside(run, [run / "pretrained"])
    found = [one.path for one in found_files(run, [run / "pretrained"])]
    assert found == [run / "pretrained/a"]
    StageState(run, "pretrain", "a").start([run / "pretrained"], resume=True)
    assert (tmp_path / "elsewhere/precious.json").exists()


def test_markers_and_links_lead_to_no_file_outside_the_run(tmp_path: Path) -> None:
    (precious,) = written(tmp_path, "elsewhere/precious.json")
    run = tmp_path / "run"
    outputs = ["../elsewhere", str(tmp_path / "elsewhere"), "../elsewhere/*.json"]
    write_json(run / ".stages/stats.started.json", {"fingerprint": "a", "outputs": outputs})
    StageState(run, "stats", "b").start([run / "stats" / "*.json"], resume=True)
    assert precious.exists()
    (run / "old").symlink_to(tmp_path / "elsewhere")
    write_json(run / ".stages/stats.started.json", {"fingerprint": "a", "outputs": ["old"]})
    with pytest.raises(InputError, match="a link to"):
        StageState(run, "stats", "b").start([run / "stats" / "*.json"], resume=True)
    assert precious.exists()


def test_a_folder_is_a_run_from_its_first_lock_on(tmp_path: Path) -> None:
    require_run_folder(tmp_path / "new")
    with run_lock(tmp_path / "new"):
        pass
    written(tmp_path / "new", "notes.txt")
    require_run_folder(tmp_path / "new")
    (log,) = written(tmp_path / "other", "run.log")
    require_run_folder(tmp_path / "other", log)
    with pytest.raises(InputError, match=r"no run and holds run\.log"), run_lock(log.parent):
        pass
    assert left(tmp_path / "other") == ["run.log"]


def test_tiles_marked_without_their_shards_are_forgotten_when_a_stage_finishes(
    tmp_path: Path,
) -> None:
    from tests.cubes import fill_tile, make_cube

    cube = tmp_path / "cubes" / "a.zarr"
    ledger = Ledger(tmp_path / "ledger" / "regrid-a", "a")
    outputs = [cube, ledger.folder]
    state = StageState(tmp_path, "regrid", "a")
    state.start(outputs, resume=True)
    made = make_cube(cube)
    for tile in made.tiles:
        ledger.mark(tile.name, fill_tile(cube, tile))
    shard = next(path for path in sorted(cube.glob("rain/c/*/*/*")))
    shard.unlink()
    with pytest.raises(InputError, match=r"shards are missing: 1 .*Run the same command again"):
        state.finish(1.0, 1, {}, outputs, {cube: ledger})
    assert len(ledger.names_done()) == len(made.tiles) - 1
