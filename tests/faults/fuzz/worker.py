"""A process that tries damaged files one after another: `python -m tests.faults.fuzz.worker …`.

It prints a line of JSON before and after each example, so that its parent knows which one killed
it. More than `CPU_SECONDS` of one example end it: by SIGPROF, or where Python could have ended it
before, and so no C library is at work, as a finding. More than `MEMORY` bytes are a `MemoryError`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

CPU_SECONDS = 20
MEMORY = 6 << 30
"""Bytes of address space, of which libraries reserve a large part without use."""


def main(name: str, first: int, until: float, count: int, folder: Path) -> None:
    """Try the seeds from `first` on, at most `count` and until the clock shows `until`."""
    from tests.faults.fuzz.data_files import example, pristine
    from tests.faults.fuzz.oracle import FindingError, kind_of

    output = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")
    logging.disable()

    def report(**values: object) -> None:
        print(json.dumps(values), file=output, flush=True)

    def too_long(number: int, frame: object) -> None:
        raise FindingError(f"more than {CPU_SECONDS} CPU seconds in Python")

    signal.signal(signal.SIGVTALRM, too_long)
    pristine(name, folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for seed in range(first, first + count):
        if time.time() > until and seed > first:
            return
        report(began=seed)
        signal.setitimer(signal.ITIMER_PROF, 1.5 * CPU_SECONDS)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        try:
            result = example(name, seed, folder)
        except FindingError as finding:
            result = f"finding: {finding}"
        except Exception as error:
            result = f"finding: in the test itself, {kind_of(error)}: {error}"
        report(seed=seed, result=result[:600])
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
