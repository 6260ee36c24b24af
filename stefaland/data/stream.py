"""Batches of sets that do not fit on the device or in memory: read ahead, pinned and copied.

Shards are read whole, in shuffled order. The training loop uses the classes here like resident
`Windows`.
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import bad_input
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw
from stefaland.data.sharded import ShardedCells
from stefaland.data.windows import Windows
from stefaland.distributed import free_memory

RESIDENT_FRACTION = 0.4
"""Fraction of a device's free memory that resident data may use."""
SHARDS_HELD = 8
"""Number of shards in memory, in use or read ahead."""
SHARDS_MIXED = SHARDS_HELD // 2
"""Number of shards in use: an epoch shuffles the cells of so many shards at a time."""
READERS = 2
"""Number of threads that read shards."""


class ShardedWindows:
    """Windows over shards of cells, which are read ahead; `kept` shards stay in memory.

    Row r of the set is row `r - offset` of its shard. A sampler with `shard` labels (`shard_of`)
    needs few shards at a time.
    """

    def __init__(
        self,
        shards: Sequence[Callable[[], CellData]],
        sizes: Sequence[int],
        normaliser: Normaliser,
        window: int,
        *,
        cyclic: bool = False,
        kept: int = SHARDS_HELD,
    ) -> None:
        self.shards, self.normaliser, self.window = shards, normaliser, window
        self.cyclic, self.kept = cyclic, kept
        self.device = torch.device("cpu")
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._open: OrderedDict[int, Future[Windows]] = OrderedDict()
        self._readers = ThreadPoolExecutor(READERS, "read-shard")

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def shard_of(self) -> np.ndarray:
        """Shard number [N] of each row, for the sampler."""
        return np.repeat(np.arange(len(self.shards)), np.diff(self.offsets))

    def starts(self, period: tuple[str, str] | None = None) -> tuple[int, int]:
        """First start and number of starts of windows within `period`; reads one shard."""
        return self._shard(0).starts(period)

    def gather(self, rows: Tensor, starts: Tensor) -> Batch:
        """The windows that begin at `starts` [B] of `rows` [B], which may be in any shards."""
        where = self._numbers(rows)
        by_shard = np.argsort(where, kind="stable")
        edges = np.flatnonzero(np.diff(where[by_shard], prepend=-1))
        pieces = []
        for here in np.split(by_shard, edges[1:]):
            number, chosen = int(where[here[0]]), torch.from_numpy(here)
            local = rows[chosen] - int(self.offsets[number])
            pieces.append(self._shard(number).gather(local, starts[chosen]))
        joined = pieces[0].each(lambda *values: torch.cat(values), *pieces[1:])
        if (where[1:] < where[:-1]).any():
            back = torch.from_numpy(by_shard).argsort()
            joined = joined.each(lambda values: values[back])
        return joined

    def batches(self, draws: Sequence[Draw]) -> Iterator[Batch]:
        """This rank's part of each draw; the next shards are read meanwhile, `kept` at a time."""
        wanted = [np.unique(self._numbers(draw.rows[draw.part])).tolist() for draw in draws]
        last_use = {number: i for i, numbers in enumerate(wanted) for number in numbers}
        coming = deque(dict.fromkeys(number for numbers in wanted for number in numbers))
        for i, draw in enumerate(draws):
            finished = [number for number in self._open if last_use.get(number, -1) < i]
            while coming and (coming[0] in self._open or finished or len(self._open) < self.kept):
                number = coming.popleft()
                if number not in self._open and len(self._open) >= self.kept:
                    del self._open[finished.pop()]
                self._begin(number)
            yield self.gather(draw.rows[draw.part], draw.starts[draw.part])

    def _numbers(self, rows: Tensor) -> np.ndarray:
        found: np.ndarray = np.searchsorted(self.offsets, rows.numpy(), side="right") - 1
        return found

    def _shard(self, number: int) -> Windows:
        while number not in self._open and len(self._open) >= self.kept:
            self._open.popitem(last=False)
        self._begin(number)
        self._open.move_to_end(number)
        return self._open[number].result()

    def _begin(self, number: int) -> None:
        if number not in self._open:
            self._open[number] = self._readers.submit(self._read, number)

    def _read(self, number: int) -> Windows:
        data = self.shards[number]()
        expected = int(self.offsets[number + 1] - self.offsets[number])
        if len(data) != expected:
            raise bad_input(f"shard {number}", f"{len(data)} cells", f"{expected} cells")
        return Windows(data, self.normaliser, self.window, cyclic=self.cyclic)


class StreamedWindows:
    """Batches of a `source` on the host, gathered ahead by a thread and copied to the device.

    Copies of pinned batches run on a separate stream while the device computes; on a CPU nothing
    is copied. `depth` batches are gathered ahead.
    """

    def __init__(
        self, source: Windows | ShardedWindows, device: torch.device | str, depth: int = 2
    ) -> None:
        self.source, self.device, self.depth = source, torch.device(device), depth

    def starts(self, period: tuple[str, str] | None = None) -> tuple[int, int]:
        """First start and number of starts of the source."""
        return self.source.starts(period)

    def batches(self, draws: Sequence[Draw]) -> Iterator[Batch]:
        """This rank's part of each draw on the device; errors of the thread are raised here."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(self.depth)
        stop = threading.Event()
        thread = threading.Thread(target=self._fill, args=(draws, ready, stop), daemon=True)
        thread.start()
        copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        try:
            pending: tuple[Batch, torch.cuda.Event | None] | None = None
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                # One batch is being copied while the one before it is in use.
                moved = self._move(item, copies)
                if pending is not None:
                    yield self._arrived(*pending)
                pending = moved
            if pending is not None:
                yield self._arrived(*pending)
        finally:
            stop.set()
            while thread.is_alive():
                _drain(ready)
                thread.join(0.05)

    def _fill(
        self,
        draws: Sequence[Draw],
        ready: queue.Queue[Batch | BaseException | None],
        stop: threading.Event,
    ) -> None:
        try:
            for batch in self.source.batches(draws):
                ready.put(batch.each(Tensor.pin_memory) if self.device.type == "cuda" else batch)
                if stop.is_set():
                    return
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    def _move(
        self, batch: Batch, copies: torch.cuda.Stream | None
    ) -> tuple[Batch, torch.cuda.Event | None]:
        if copies is None:
            return batch.to(self.device), None
        with torch.cuda.stream(copies):
            moved = batch.to(self.device, non_blocking=True)
            return moved, copies.record_event()

    def _arrived(self, batch: Batch, copied: torch.cuda.Event | None) -> Batch:
        if copied is not None:
            present = torch.cuda.current_stream(self.device)
            present.wait_event(copied)
            # The allocator must not reuse the memory while this stream reads it.
            batch.each(lambda values: _in_use(values, present))
        return batch


def _in_use(values: Tensor, stream: torch.cuda.Stream) -> Tensor:
    values.record_stream(stream)
    return values


def _drain(ready: queue.Queue[Batch | BaseException | None]) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return


def training_windows(
    data: CellData | ShardedCells,
    normaliser: Normaliser,
    window: int,
    *,
    cyclic: bool = False,
    device: torch.device | str = "cpu",
    resident: bool | None = None,
) -> Windows | StreamedWindows:
    """Resident windows where the data fit on the device, streamed ones otherwise.

    `ShardedCells` are always streamed, with `SHARDS_HELD` shards in memory at a time.
    """
    target_device = torch.device(device)
    if isinstance(data, ShardedCells):
        sizes = [len(ids) for ids in data.shards]
        sharded = ShardedWindows(
            data.readers(), sizes, normaliser, window, cyclic=cyclic, kept=SHARDS_HELD
        )
        return StreamedWindows(sharded, target_device)
    if target_device.type != "cuda":
        return Windows(data, normaliser, window, cyclic=cyclic, device=target_device)
    if resident is None:
        held = (data.forcings, data.statics, data.target)
        size = sum(v.numel() * 4 for v in held if v is not None)
        resident = size < RESIDENT_FRACTION * free_memory(target_device)
    if resident:
        return Windows(data, normaliser, window, cyclic=cyclic, device=target_device)
    return StreamedWindows(Windows(data, normaliser, window, cyclic=cyclic), target_device)
