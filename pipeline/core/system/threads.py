"""default_threads(): how many threads a calculation of this process may use."""

from __future__ import annotations

import os


def default_threads() -> int:
    """Threads of one call: OMP_NUM_THREADS where set (Dask workers set 1), else the CPUs."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(setting)) if setting.isdigit() else len(os.sched_getaffinity(0))
