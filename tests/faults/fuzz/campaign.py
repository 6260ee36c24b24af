"""Campaigns of damaged files in processes of their own, which a crash of a library may end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SECONDS = float(os.environ.get("STEFALAND_FUZZ_SECONDS", 300))
"""Seconds of all campaigns together on each of two cores; nightly runs set more."""
FIRST = int(os.environ.get("STEFALAND_FUZZ_FIRST", 0))
"""First seed, to repeat one that failed or to try others."""
WALL_SECONDS = 120
"""Seconds without a word after which a process hangs; shared machines are slow."""


@dataclass
class Campaign:
    """The outcomes of the seeds of one format, and what was found."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    """Seeds at which a library ended the process by a signal."""
    hangs: list[str] = field(default_factory=list)
    """Seeds at which a library did not return to Python."""
    next_seed: int = FIRST

    def add(self, line: dict[str, Any]) -> None:
        """Record a line of a worker."""
        if "began" in line:
            self.next_seed = line["began"] + 1
        elif line["result"].startswith("finding"):
            self.findings.append(f"seed {line['seed']}: {line['result']}")
            self.counts["finding"] += 1
        else:
            self.counts[line["result"]] += 1

    def died(self, how: str) -> None:
        """Record the death of a worker during the seed before the next one."""
        of_library = how in (_ending(-code) for code in (signal.SIGABRT, signal.SIGSEGV))
        into = self.crashes if of_library else self.findings
        into = self.hangs if how == _ending(-signal.SIGPROF) else into
        into.append(f"seed {self.next_seed - 1}: {how}")
        self.counts["died"] += 1


def run_campaign(name: str, seconds: float, count: int, folder: Path) -> Campaign:
    """Try `count` seeds of a format, or as many as `seconds` allow."""
    campaign, until, last = Campaign(), time.time() + seconds, FIRST + count
    while campaign.next_seed < last:
        began = campaign.next_seed
        home = folder / f"{name}-{began}"
        home.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.faults.fuzz.worker", name, str(began), str(until),
                   str(last - began), str(home)]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        if _follow(process, campaign):
            campaign.died(f"a process that hung for {WALL_SECONDS} s")
        elif process.returncode:
            assert process.stderr is not None
            how = _ending(process.returncode)
            if campaign.next_seed == began:
                raise RuntimeError(f"{name}: the worker does not start ({how}): "
                                   f"{process.stderr.read().decode()[-2000:]}")  # fmt: skip
            campaign.died(how)
        else:
            break
    return campaign


def _follow(process: subprocess.Popen[bytes], campaign: Campaign) -> bool:
    """Read the lines of a worker until it ends; whether it had to be killed because it hung."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(WALL_SECONDS):
            line = process.stdout.readline()
            if not line:
                process.wait()
                return False
            campaign.add(json.loads(line))
    process.kill()
    process.wait()
    return True


def _ending(code: int) -> str:
    if code == -signal.SIGPROF:
        return "more than the CPU seconds of one example in a library"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit with {code}"


def reproduce(name: str) -> str:
    """The command that repeats one seed of a format."""
    return (f"STEFALAND_FUZZ_FIRST=SEED python -m pytest -m slow "
            f"tests/faults/fuzz/test_data.py -k {name}")  # fmt: skip
