"""The log of a training run: a progress bar, JSON lines, and TensorBoard events on request.

Times are written here and nowhere else, so that results are reproducible.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.core.errors import bad_input
from pipeline.core.files import make_folder, writing
from stefaland.distributed import is_main


class RunLog:
    """Log in `folder/log.jsonl` and, on request, as TensorBoard events; a context manager.

    The progress bar is shown on a terminal only, and only the main rank writes. Raises `InputError`
    where TensorBoard is not installed.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        title: str = "training",
        tensorboard: bool = False,
        console: Console | None = None,
    ) -> None:
        self.path = None if folder is None else Path(folder) / "log.jsonl"
        self.title = title
        self._is_active = is_main()
        self._began = time.perf_counter()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._console = console or Console(stderr=True)
        self._writer: Any = None
        if tensorboard and self._is_active and folder is not None:
            self._writer = _tensorboard(Path(folder) / "tensorboard")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def epoch(self, epoch: int, epochs: int, samples: float, record: dict[str, float]) -> None:
        """Log the `record` of a finished epoch with its time and samples per second."""
        if not self._is_active:
            return
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        rate = samples / max(seconds, 1e-9)
        self.write({**record, "seconds": round(seconds, 4), "samples_per_second": round(rate, 1)})
        self._show(epoch, epochs, record, rate)

    def write(self, record: dict[str, Any]) -> None:
        """Append one JSON line; numbers are written to TensorBoard too."""
        if not self._is_active:
            return
        if self.path is not None:
            make_folder(self.path.parent)
            with writing(self.path), self.path.open("a") as stream:
                stream.write(json.dumps({"title": self.title, **record}) + "\n")
        if self._writer is not None:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "epoch":
                    self._writer.add_scalar(name, value, int(record.get("epoch", 0)))

    def restart_clock(self) -> None:
        """Start to measure the time of the next epoch."""
        self._began = time.perf_counter()

    def close(self) -> None:
        """Close the progress bar and the TensorBoard file."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _show(self, epoch: int, epochs: int, record: dict[str, float], rate: float) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"), TimeRemainingColumn(),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=epochs, figures="")
        assert self._task is not None
        figures = f"loss {record['loss']:.4f}  {rate:,.0f} samples/s"
        if "validation_loss" in record:
            figures += f"  validation {record['validation_loss']:.4f}"
        self._bar.update(self._task, completed=epoch + 1, figures=figures)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise bad_input(
            "tensorboard", "no such package", "the package tensorboard",
            "Run `pip install tensorboard`, or leave the option out.",
        ) from None  # fmt: skip
    return SummaryWriter(str(folder))
