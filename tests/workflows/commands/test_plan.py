import os

import numpy as np
import pytest
from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.cube.cost import (
    PROCESS_BYTES,
    Rates,
    check_plans,
    plan_cube,
    plan_table,
    probe,
    show_bytes,
    show_seconds,
)
from pipeline.cube.write import cube_template
from pipeline.execution.cluster import ClusterConfig, SlurmConfig, worker_count, worker_memory
from pipeline.execution.ledger import Ledger
from pipeline.grid.target_grid import TargetGrid
from tests.cubes import fill_tile, make_cube, template

GLOBAL = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -60, 180, 84), 0.1)
DAYS = np.arange("2000-01-01", "2010-01-01", dtype="datetime64[D]")
DAILY = {"a": {"dims": ("time", "y", "x")}, "s": {"dims": ("y", "x")}}


def test_counts_and_bytes_of_a_known_cube():
    made = cube_template(GLOBAL, DAYS, DAILY, 120)
    plan = plan_cube("big", made, source_bytes=10**9)
    assert plan.tiles == 12 * 30
    assert plan.tasks == 360 + 20
    assert plan.shards == 720
    assert plan.bytes_values == 1440 * 3600 * 4 * (DAYS.size + 1)
    assert (
        plan.largest_shard
        == 120 * 120 * 4 * made.layout("a")[1][0]
        - (made.layout("a")[1][0] - DAYS.size) * 120 * 120 * 4
    )
    assert plan.bytes_read == 10**9


def test_a_decade_of_a_global_9_km_variable_is_hundreds_of_files():
    ease = TargetGrid(
        name="e",
        crs="EPSG:6933",
        west=-17367530.4,
        north=7314540.8,
        dx=9008.05,
        dy=9008.05,
        shape=(1624, 3856),
    )
    made = cube_template(ease, DAYS, {"a": {"dims": ("time", "y", "x")}}, 128)
    plan = plan_cube("ease", made, land_share=0.35)
    assert 100 < plan.shards * 0.35 < 999
    assert plan.inodes < 1000


def test_files_are_counted_as_they_are(tmp_path):
    made = make_cube(tmp_path / "a.zarr", (10, 10))
    ledger = Ledger(tmp_path / "ledger", "f").open()
    for tile in made.tiles:
        ledger.mark(tile.name, fill_tile(tmp_path / "a.zarr", tile))
    found = sum(len(dirs) + len(files) for _, dirs, files in os.walk(tmp_path))
    sea = 3 * len(made.tiles) - sum(
        len(f) for d, _, f in os.walk(tmp_path / "a.zarr") if "/c/" in d
    )
    assert sea > 0
    assert plan_cube("a", made).inodes == found + sea


def test_memory_grows_with_the_tile_and_workers_share_the_time():
    plans = [plan_cube("a", cube_template(GLOBAL, DAYS, DAILY, size)) for size in (60, 120, 240)]
    assert plans[0].memory < plans[1].memory < plans[2].memory
    one, two = (plan_cube("a", template(), 10**8, workers) for workers in (1, 2))
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert plan_cube("a", template(), workers=99).seconds == pytest.approx(
        plan_cube("a", template(), workers=len(template().tiles)).seconds
    )


def test_terrain_takes_memory_of_its_elevation_up_to_a_block():
    plain, small, large = (
        plan_cube("a", template(), window_bytes=size, terrain_bytes=size * with_terrain).memory
        for size, with_terrain in ((10**8, 0), (10**8, 1), (10**10, 1))
    )
    assert small == plain + 4 * 10**8
    assert large == PROCESS_BYTES + 7 * 2**28 + plain - PROCESS_BYTES - 3 * 10**8


def test_a_plan_over_memory_names_a_tile_that_fits():
    made = cube_template(GLOBAL, DAYS, DAILY, (240, 360))
    plan = plan_cube("global", made, source_bytes=10**11)
    with pytest.raises(InputError) as raised:
        check_plans([(plan, made)], memory=2 * 2**30)
    fault = raised.value.faults[0]
    assert fault.where == "cubes.global"
    assert "(240, 360)" in fault.found
    assert "2.0 GiB" in fault.expected
    rows, cols = map(int, fault.hint.split("[")[1].split("]")[0].split(","))
    smaller = cube_template(GLOBAL, DAYS, DAILY, (rows, cols))
    check_plans([(plan_cube("global", smaller, source_bytes=10**11), smaller)], memory=2 * 2**30)


def test_memory_and_disk_faults_come_together():
    made = cube_template(GLOBAL, DAYS, DAILY, (240, 360))
    plan = plan_cube("global", made)
    with pytest.raises(InputError) as raised:
        check_plans({"global": (plan, made)}, memory=PROCESS_BYTES, disk=10**6)
    assert [fault.where for fault in raised.value.faults] == ["cubes.global", "cubes"]
    assert raised.value.faults[0].hint.startswith("Raise cluster.memory_per_worker")
    assert "roots.runs" in raised.value.faults[1].hint
    check_plans([(plan, made)], memory=plan.memory, disk=plan.bytes_stored)


@pytest.mark.parametrize("time", [DAYS[:60], None])
def test_a_probe_gives_rates_and_leaves_nothing(tmp_path, time):
    names = DAILY if time is not None else {"s": {"dims": ("y", "x")}}
    rates = probe(cube_template(GLOBAL, time, names, 120), tmp_path)
    assert isinstance(rates, Rates)
    assert 1e5 < rates.write < 1e11
    assert rates.ratio >= 1
    assert not list(tmp_path.iterdir())


def test_the_table_has_a_row_a_cube():
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(plan_table([plan_cube("small", template()), plan_cube("other", template())]))
    text = console.export_text()
    assert "small" in text
    assert "other" in text
    assert "memory a worker" in text


@pytest.mark.parametrize(
    "count, text", [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**40, "3.0 TiB")]
)
def test_bytes_for_people(count, text):
    assert show_bytes(count) == text


@pytest.mark.parametrize("seconds, text", [(3.2, "3 s"), (600, "10 min"), (7500, "2 h 05 min")])
def test_seconds_for_people(seconds, text):
    assert show_seconds(seconds) == text


def test_budgets_of_clusters():
    assert worker_memory(ClusterConfig(memory_per_worker="4GiB")) == 4 * 2**30
    both = ClusterConfig(kind="slurm", slurm=SlurmConfig(memory="32GiB", processes=8, jobs=3))
    assert worker_memory(both) == 4 * 2**30
    assert worker_count(both) == 24
    assert worker_memory(ClusterConfig(workers=4)) * 4 <= worker_memory(ClusterConfig(kind="none"))
    with pytest.raises(InputError, match="4GiB"):
        worker_memory(ClusterConfig(memory_per_worker="lots"))
