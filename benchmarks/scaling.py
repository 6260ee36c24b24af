"""python -m benchmarks.scaling [--config quickstart]

Strong scaling, 1 → 2 workers, of the regrid and predict stages of a shipped config, beside the
limit of the machine: the speed-up of two plain NumPy processes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

WORK = """
import time, numpy as np
a = np.random.default_rng(0).random((400, 400)); began = time.perf_counter()
for _ in range(1000): a @ a
print(time.perf_counter() - began)
"""
SECONDS = re.compile(r"predict.*?([0-9.]+) s[,;]")
SHORT = ("pretrain.epochs=1", "finetune.epochs=1", "finetune.baselines=[climatology]")


def command(config: str, *arguments: str) -> list[str]:
    """Command line of `stefaland` with short settings."""
    settings = [part for key in SHORT for part in ("--set", key)]
    return [sys.executable, "-m", "workflows.cli", arguments[0], config, *arguments[1:], *settings]


def printed(commands: list[list[str]], runs: Path) -> list[str]:
    """Standard error of commands that run concurrently; a failing one ends the benchmark."""
    environment = {**os.environ, "STEFALAND_RUNS": str(runs), "OMP_NUM_THREADS": "1",
                   "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip
    started = [
        subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
        for words in commands
    ]  # fmt: skip
    outputs = [process.communicate()[1] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("\n".join(outputs))
    return outputs


def at_once(commands: list[list[str]], runs: Path) -> float:
    """Seconds until all commands have ended."""
    began = time.perf_counter()
    printed(commands, runs)
    return time.perf_counter() - began


def regrid_seconds(config: str, runs: Path, workers: int) -> float:
    """Seconds of the stage, without the start of the command."""
    shutil.rmtree(runs, ignore_errors=True)
    at_once([command(config, "regrid", "--set", f"cluster.workers={workers}",
                     "--set", "cluster.dashboard_port=0")], runs)  # fmt: skip
    (marker,) = runs.glob("*/.stages/regrid.finished.json")
    return float(json.loads(marker.read_text())["seconds"])


def predict_seconds(config: str, runs: Path, parts: int) -> float:
    """Seconds of the slowest part, without the start of its process."""
    (run,) = (path.parent for path in runs.glob("*/.stages"))
    for path in (run / "predictions", *run.glob("ledger/predict-*")):
        shutil.rmtree(path, ignore_errors=True)
    for path in run.glob(".stages/predict.*"):
        path.unlink()
    parted = [["--part", f"{i}/{parts}"] for i in range(1, parts + 1)] if parts > 1 else [[]]
    outputs = printed([command(config, "predict", *part) for part in parted], runs)
    return max(float(number) for text in outputs for number in SECONDS.findall(text))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="quickstart")
    config = parser.parse_args().config
    table = Table("work", "1 worker s", "2 workers s", "times as fast")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        plain = [sys.executable, "-c", WORK]
        one, two = at_once([plain], runs), at_once([plain, plain], runs)
        table.add_row("NumPy, once and twice the work", f"{one:.1f}", f"{two:.1f}",
                      f"{2 * one / two:.2f}")  # fmt: skip
        one, two = (regrid_seconds(config, runs, n) for n in (1, 2))
        table.add_row("regrid", f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}")
        at_once([command(config, "run", "--until", "finetune")], runs)
        one, two = (predict_seconds(config, runs, n) for n in (1, 2))
        table.add_row("predict", f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
