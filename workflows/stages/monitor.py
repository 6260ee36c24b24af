"""Wall time and sampled peak memory of a stage, over this process and its children."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil


def _tree_bytes(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            memory = member.memory_info()
            # Pages shared with the parent (libraries, forked memory) count once, for the parent.
            shared = getattr(memory, "shared", 0) if member.pid != process.pid else 0
            total += memory.rss - shared
        except psutil.Error:
            continue
    return total


class Monitor:
    """Context manager that measures a block; the results are `seconds` and `peak_bytes`."""

    def __init__(self, interval: float = 0.25) -> None:
        self.interval = interval
        self.seconds = 0.0
        self.peak_bytes = 0
        self._process = psutil.Process()
        self._stop = threading.Event()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, _tree_bytes(self._process))
            if self._stop.wait(self.interval):
                return

    def __enter__(self) -> Monitor:
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._began
