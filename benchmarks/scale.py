"""python -m benchmarks.scale [--tiles 100,1000,10000] [--workers 2]

Overhead of a tiled stage: milliseconds per tile without work (submitted, marked in the ledger on
disk, reported), CPU time of client and scheduler, the largest number of tasks on the scheduler, and
the growth of its memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil
from rich.console import Console
from rich.table import Table

from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.dask import OnCluster
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage


@dataclass(frozen=True)
class Item:
    name: str


def nothing(item: Item) -> dict[str, int]:
    """Work of a tile that does nothing."""
    return {}


class Watch:
    """Largest number of tasks on the scheduler, and growth of memory, while a stage runs.

    The scheduler of a local cluster lives in this process.
    """

    def __init__(self, executor: OnCluster) -> None:
        self.scheduler = executor.client.cluster.scheduler  # type: ignore[attr-defined]
        self.before = psutil.Process().memory_info().rss
        self.max_tasks = 0
        self.growth = 0
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.max_tasks = max(self.max_tasks, len(self.scheduler.tasks))
            self.growth = max(self.growth, psutil.Process().memory_info().rss - self.before)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", default="100,1000,10000")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    table = Table(
        "tiles", "seconds", "ms a tile", "CPU ms a tile", "most tasks held", "memory grew by MiB"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        connect(ClusterConfig(workers=args.workers)) as executor,
    ):
        for count in (50, *map(int, args.tiles.split(","))):
            items = [Item(f"t{i:06d}") for i in range(count)]
            with Watch(executor) as watch:
                began, cpu = time.perf_counter(), time.process_time()
                run_stage("noop", items, nothing, Ledger(Path(folder), f"n{count}"), executor)
                seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            if count != 50:  # the first count only warms the workers up
                table.add_row(
                    f"{count:,}", f"{seconds:.1f}", f"{1e3 * seconds / count:.2f}",
                    f"{1e3 * cpu / count:.2f}",
                    str(watch.max_tasks), f"{watch.growth / 2**20:.0f}",
                )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
