import errno
import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.files import UnwritableError, writing
from pipeline.execution.executor import Here, Task
from pipeline.execution.ledger import Ledger
from pipeline.execution.overlap import AHEAD, Overlapped
from pipeline.execution.run import StageError, part_of, run_stage


@dataclass(frozen=True)
class Job:
    name: str


def jobs(n: int) -> list[Job]:
    return [Job(f"t{i:03d}") for i in range(n)]


def note(folder: Path, job: Job) -> dict[str, str]:
    """A step that leaves a trace of every try."""
    with (folder / job.name).open("a") as handle:
        handle.write("x")
    return {"by": str(os.getpid())}


def stumble(folder: Path, times: int, job: Job) -> dict[str, str]:
    """Fails the first `times` tries of every third job."""
    summary = note(folder, job)
    if int(job.name[1:]) % 3 == 0 and len((folder / job.name).read_text()) <= times:
        raise OSError(errno.EIO, "the network sneezed")
    return summary


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger", "f")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def _tries(folder):
    return {f.name: len(f.read_text()) for f in sorted(folder.iterdir())}


def test_every_item_is_done_once_and_then_skipped(ledger, folder):
    report = run_stage("test", jobs(5), partial(note, folder), ledger)
    assert report.done == tuple(job.name for job in jobs(5))
    assert report.seconds > 0
    assert report.peak_memory > 10_000_000
    again = run_stage("test", jobs(7), partial(note, folder), ledger)
    assert again.skipped == report.done
    assert again.done == ("t005", "t006")
    assert set(_tries(folder).values()) == {1}
    assert set(ledger.summaries()) == {job.name for job in jobs(7)}


def test_passing_faults_are_retried(ledger, folder):
    report = run_stage("test", jobs(7), partial(stumble, folder, 2), ledger, retries=2)
    assert len(report.done) == 7
    assert _tries(folder)["t003"] == 3
    assert ledger.names_failed() == set()


def test_a_failing_item_does_not_lose_the_others(ledger, folder):
    with pytest.raises(StageError) as raised:
        run_stage("regrid", jobs(7), partial(stumble, folder, 9), ledger, retries=1)
    assert len(raised.value.faults) == 1
    text = str(raised.value)
    assert "stage regrid, t000" in text
    assert "the network sneezed; 3 tiles failed so (t000, t003, t006)" in text
    assert "t000.failed.json" in text
    assert ledger.names_done() == {"t001", "t002", "t004", "t005"}
    assert "Traceback" in ledger.failures()["t003"]["traceback"]
    assert "stumble" in ledger.failures()["t003"]["traceback"]
    report = run_stage("regrid", jobs(7), partial(note, folder), ledger)
    assert report.done == ("t000", "t003", "t006")
    assert ledger.names_failed() == set()


def test_failures_can_be_reported_instead(ledger, folder):
    step = partial(stumble, folder, 9)
    report = run_stage("regrid", jobs(4), step, ledger, retries=0, strict=False)
    assert set(report.failed) == {"t000", "t003"}


def _bad(folder, job):
    note(folder, job)
    raise bad_input("dem.tif", "no CRS", "EPSG:4326")


def test_bad_input_is_not_retried_and_reported_once(ledger, folder):
    with pytest.raises(StageError) as raised:
        run_stage("test", jobs(3), partial(_bad, folder), ledger)
    assert _tries(folder) == {"t000": 1, "t001": 1, "t002": 1}
    assert [fault.where for fault in raised.value.faults] == ["dem.tif"]


def _impossible(job):
    number = int(job.name[1:])
    if number == 4:
        raise RuntimeError("another cause")
    if number != 1:
        raise InputError(
            [Fault("pr.nc: rain", f"values from -{number} to 9", "0 to 500", "Check units."),
             Fault("pr.nc: rain", f"{number} gaps", "0 to 500", "Check units."),
             Fault("ta.nc: warmth", "nothing", "values")][: 2 + (number == 7)]
        )  # fmt: skip
    return {}


def test_tiles_that_fail_of_one_cause_are_reported_together(ledger):
    with pytest.raises(StageError) as raised:
        run_stage("regrid", jobs(10), _impossible, ledger, retries=0)
    names = "(t000, t002, t003, t005, t006 and 3 more)"
    assert [(fault.where, fault.found) for fault in raised.value.faults] == [
        ("pr.nc: rain", f"values from -0 to 9; 8 tiles failed so {names}"),
        ("pr.nc: rain", f"0 gaps; 8 tiles failed so {names}"),
        ("stage regrid, t004", "RuntimeError: another cause"),
        ("ta.nc: warmth", "nothing"),
    ]


def _full(folder, job):
    note(folder, job)
    if job.name == "t002":
        with writing(folder / "shard"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return {}


def test_a_full_disk_stops_the_stage_at_once(ledger, folder):
    with pytest.raises(UnwritableError, match=r"No space left.*Free space"):
        run_stage("test", jobs(50), partial(_full, folder), ledger, strict=False)
    assert set(_tries(folder)) == {"t000", "t001", "t002"}
    assert ledger.names_done() == {"t000", "t001"}


def _never(job):
    raise RuntimeError("a mistake in the code")


def test_a_stage_in_which_nothing_works_gives_up(ledger):
    with pytest.raises(StageError):
        run_stage("test", jobs(500), _never, ledger, retries=0)
    assert len(ledger.names_failed()) == 20


def test_large_summaries_are_refused(ledger):
    report = run_stage(
        "test",
        jobs(1),
        lambda job: {"field": list(range(100_000))},
        ledger,
        retries=0,
        strict=False,
    )
    assert "too large for the ledger" in report.failed["t000"]
    assert not ledger.done("t000")


def test_numbers_of_numpy_are_recorded(ledger):
    run_stage("test", jobs(1), lambda job: {"n": np.int64(3), "low": np.float32(0.5)}, ledger)
    assert ledger.summaries() == {"t000": {"n": 3, "low": 0.5}}


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
def test_parts_cover_everything_once(n):
    parts = [part_of(jobs(10), (i, n)) for i in range(1, n + 1)]
    assert sorted(job.name for part in parts for job in part) == [job.name for job in jobs(10)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0), (-1, 2)])
def test_impossible_parts_are_refused(ledger, part):
    with pytest.raises(Exception, match="i/n"):
        run_stage("test", jobs(3), _never, ledger, part=part)


def test_parts_share_a_ledger(ledger, folder):
    run_stage("test", jobs(10), partial(note, folder), ledger, part=(2, 3))
    assert ledger.names_done() == {"t001", "t004", "t007"}
    run_stage("test", jobs(10), partial(note, folder), ledger)
    assert set(_tries(folder).values()) == {1}


def _slow(folder, job):
    note(folder, job)
    time.sleep(0.05)
    return {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_stage_between_items(ledger, folder, number):
    before = signal.getsignal(number)
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    with pytest.raises(KeyboardInterrupt):
        run_stage("test", jobs(200), partial(_slow, folder), ledger)
    assert signal.getsignal(number) == before
    done = ledger.names_done()
    assert 0 < len(done) < 200
    assert len(_tries(folder)) <= len(done) + 1


def test_stages_run_in_other_threads_too(ledger, folder):
    thread = threading.Thread(
        target=run_stage, args=("test", jobs(3), partial(note, folder), ledger)
    )
    thread.start()
    thread.join()
    assert len(ledger.names_done()) == 3


class Three:
    """Reads a job's number, adds 100 to two at a time, writes it; counts tries and stumbles."""

    def __init__(self, folder: Path, *, bad_read=(), bad_sum=(), bad_write=(), times: int = 1):
        self.folder, self.times = folder, times
        self.bad = {"read": bad_read, "sum": bad_sum, "write": bad_write}
        self.tries: dict[tuple[str, str], int] = {}
        self.at_once: list[int] = []
        self.threads: dict[str, set[int]] = {"read": set(), "sum": set(), "write": set()}

    def _try(self, part: str, job: Job) -> None:
        self.threads[part].add(threading.get_ident())
        key = (part, job.name)
        self.tries[key] = self.tries.get(key, 0) + 1
        if job.name in self.bad[part] and self.tries[key] <= self.times:
            raise OSError(errno.EIO, f"{part} of {job.name} failed")

    def read(self, job: Job) -> int:
        self._try("read", job)
        return int(job.name[1:])

    def compute(self, pairs):
        held = []
        for job, number in pairs:
            self._try("sum", job)
            held.append((job, number))
            self.at_once.append(len(held))
            if len(held) == 2:
                yield from ((job, number + 100) for job, number in held)
                held = []
        yield from ((job, number + 100) for job, number in held)

    def write(self, job: Job, result: int) -> dict[str, int]:
        self._try("write", job)
        (self.folder / job.name).write_text(str(result))
        return {"result": result}

    @property
    def task(self) -> Task:
        return Task(self.read, self.compute, self.write)


def _results(folder: Path) -> dict[str, int]:
    return {file.name: int(file.read_text()) for file in sorted(folder.iterdir())}


def test_a_task_puts_items_together_and_writes_each(ledger, folder):
    three = Three(folder)
    report = run_stage("predict", jobs(9), three.task, ledger, Overlapped())
    assert report.done == tuple(job.name for job in jobs(9))
    assert _results(folder) == {job.name: 100 + i for i, job in enumerate(jobs(9))}
    assert max(three.at_once) == 2
    assert three.threads["read"].isdisjoint(three.threads["sum"] | three.threads["write"])
    assert three.threads["write"].isdisjoint(three.threads["sum"])
    again = run_stage("predict", jobs(9), three.task, ledger, Overlapped())
    assert again.done == ()
    assert len(again.skipped) == 9


def test_a_task_with_several_threads_has_the_same_results_in_the_same_order(ledger, folder):
    three = Three(folder)
    report = run_stage("predict", jobs(30), three.task, ledger, Overlapped(threads=3))
    assert report.done == tuple(job.name for job in jobs(30))
    assert _results(folder) == {job.name: 100 + i for i, job in enumerate(jobs(30))}
    assert three.threads["read"].isdisjoint(three.threads["sum"] | three.threads["write"])


@pytest.mark.parametrize("part", ["read", "sum", "write"])
def test_what_fails_once_is_repeated_alone(ledger, folder, part):
    three = Three(folder, **{f"bad_{part}": ("t003", "t006")})
    report = run_stage("predict", jobs(9), three.task, ledger, Overlapped())
    assert sorted(report.done) == [job.name for job in jobs(9)]
    assert _results(folder) == {job.name: 100 + i for i, job in enumerate(jobs(9))}


@pytest.mark.parametrize("part", ["read", "sum", "write"])
def test_an_item_that_always_fails_affects_no_other(ledger, folder, part):
    three = Three(folder, **{f"bad_{part}": ("t004",)}, times=99)
    with pytest.raises(StageError) as caught:
        run_stage("predict", jobs(9), three.task, ledger, Overlapped(), retries=1)
    assert f"{part} of t004 failed" in str(caught.value)
    assert len(caught.value.faults) == 1
    assert sorted(_results(folder)) == [job.name for job in jobs(9) if job.name != "t004"]


def test_a_task_reads_no_further_ahead_than_stated(ledger, folder):
    three, started = Three(folder), []

    def compute(pairs):
        for job, number in pairs:
            time.sleep(0.02)
            started.append(sum(part == "read" for part, _ in three.tries) - len(started))
            yield job, number

    run_stage("predict", jobs(12), Task(three.read, compute, three.write), ledger, Overlapped())
    assert 1 < max(started) <= AHEAD + 2


def test_a_full_disk_ends_a_task(ledger, folder):
    def write(job, result):
        raise UnwritableError((bad_input("disk", "full", "space").faults[0],))

    task = Task(lambda j: 1, Three(folder).compute, write)
    with pytest.raises(UnwritableError):
        run_stage("predict", jobs(9), task, ledger, Overlapped())
    assert ledger.names_done() == set()


@pytest.mark.parametrize("executor", [Here(), Overlapped(), Overlapped(threads=2)])
def test_any_executor_runs_a_task_and_a_function_alike(ledger, folder, executor):
    three = Three(folder)
    report = run_stage("predict", jobs(7), three.task, ledger, executor)
    assert report.done == tuple(job.name for job in jobs(7))
    assert _results(folder) == {job.name: 100 + i for i, job in enumerate(jobs(7))}
    assert ledger.summaries()["t003"] == {"result": 103}
    plain = Ledger(ledger.folder, "plain")
    report = run_stage("test", jobs(7), lambda job: {"n": job.name}, plain, executor)
    assert report.done == tuple(job.name for job in jobs(7))
    assert plain.summaries()["t003"] == {"n": "t003"}
    assert report.peak_memory > 10_000_000


@pytest.mark.parametrize("executor", [Here(), Overlapped(threads=2)])
def test_what_another_process_marked_meanwhile_is_not_written_again(ledger, folder, executor):
    three = Three(folder)

    def compute(pairs):
        ledger.mark("t004", {"by": "another"})
        yield from three.compute(pairs)

    run_stage("predict", jobs(5), Task(three.read, compute, three.write), ledger, executor)
    assert ("write", "t004") not in three.tries
    assert ledger.summaries()["t004"] == {"by": "another"}
