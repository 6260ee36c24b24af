"""Array jobs that share one stage, a damaged cube that is mended, and where a run stands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.end_to_end.small import QUICKSTART, command, digests, environment, stefaland

pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def by_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cubes filled by three processes at once, as an array job does, and ended by a fourth."""
    runs = tmp_path_factory.mktemp("parts")
    parts = [
        subprocess.Popen(
            command("quickstart", QUICKSTART, "regrid", "--part", f"{i}/3"),
            cwd=ROOT, env=environment(runs), stderr=subprocess.PIPE, text=True,
        )
        for i in (1, 2, 3)
    ]  # fmt: skip
    for part in parts:
        _, error = part.communicate(timeout=300)
        assert part.returncode == 0, error
    done = stefaland(runs, "quickstart", QUICKSTART, "regrid")
    assert done.returncode == 0, done.stderr
    return runs / "quickstart"


def test_parts_at_once_make_the_cubes_of_one_run(by_parts: Path, tmp_path: Path) -> None:
    done = stefaland(tmp_path, "quickstart", QUICKSTART, "regrid")
    assert done.returncode == 0, done.stderr
    assert digests(by_parts / "cubes") == digests(tmp_path / "quickstart" / "cubes")
    assert json.loads((by_parts / ".stages" / "regrid.finished.json").read_text())["result"]


def test_a_part_beside_a_whole_run_is_refused(by_parts: Path) -> None:
    import fcntl

    with (by_parts / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = stefaland(by_parts.parent, "quickstart", QUICKSTART, "regrid", "--part", "1/2")
    assert done.returncode == 2
    assert "a run in progress" in done.stderr


@pytest.mark.parametrize("damage", ["bit flip", "truncated"])
def test_a_damaged_tile_is_named_and_it_alone_is_written_again(by_parts: Path, damage: str) -> None:
    cube = by_parts / "cubes" / "global.zarr"
    before = digests(cube)
    shard = cube / "precipitation" / "c" / "0" / "0" / "1"
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 8
    shard.write_bytes(raw if damage == "bit flip" else raw[: len(raw) // 2])
    times = {path: path.stat().st_mtime_ns for path in cube.rglob("c/**/*") if path.is_file()}
    arguments = [*command("", (), "verify")[:-1], str(cube)]

    def verify(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*arguments, *options], cwd=ROOT, capture_output=True, text=True, check=False,
            env=environment(by_parts.parent),
        )  # fmt: skip

    found = verify()
    assert found.returncode == 1
    assert "r000_c001, precipitation" in found.stdout
    assert "will be rewritten by the next run" in verify("--repair").stdout
    done = stefaland(by_parts.parent, "quickstart", QUICKSTART, "regrid")
    assert done.returncode == 0, done.stderr
    assert digests(cube) == before
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert {path.relative_to(cube).parts[-2:] for path in changed} == {("0", "1")}
    assert verify().stdout.endswith("sound\n")


def test_status_tells_tiles_from_the_files_alone(by_parts: Path, tmp_path: Path) -> None:
    words = [*command("", (), "status")[:-1]]
    done = subprocess.run(
        [*words, str(by_parts)], cwd=tmp_path.parent, capture_output=True, text=True, check=False,
        env={**environment(by_parts.parent), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.replace("│", " ").split() for line in done.stderr.splitlines()]
    assert ["global", "4", "0", "0"] in [row[:4] for row in rows]
    assert ["regrid", "finished"] in [row[:2] for row in rows]
    assert ["predict", "not", "begun"] in [row[:3] for row in rows]
    nothing = subprocess.run(
        [*words, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False,
        env=environment(tmp_path),
    )  # fmt: skip
    assert nothing.returncode == 2
    assert "a run folder" in nothing.stderr
