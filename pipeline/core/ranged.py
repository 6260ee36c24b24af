"""ranged(): a remote file as a file object, of which only the parts that are read are fetched.

Its path is a `pipeline.core.remote_path.RemotePath`.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

from pipeline.core.cache import BLOCK, Kept, local_copy
from pipeline.core.transfers import FIRST_BYTES

KEPT_BLOCKS = 64
"""Number of blocks that an open file keeps in memory."""


class RangedFile(io.RawIOBase):
    """A remote file read in blocks, which are kept on disk; neighbours are fetched together."""

    def __init__(self, path: Any) -> None:
        head = path.head()
        assert head.size is not None
        self.path, self.size, self.version = path, head.size, head.version
        self.first = head.first
        self.kept = Kept(path)
        self.position = 0
        self.blocks: OrderedDict[int, bytes] = OrderedDict()

    def __reduce__(self) -> tuple[type[RangedFile], tuple[Any]]:
        return type(self), (self.path,)

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether any position can be read: always."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(base + offset, 0)
        return self.position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the position on, and return the number of bytes."""
        content = self._part(self.position, min(self.position + len(buffer), self.size))
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)

    def _part(self, start: int, stop: int) -> bytes:
        if stop <= len(self.first):
            return self.first[start:stop]
        if stop <= start:
            return b""
        blocks = range(start // BLOCK, -(-stop // BLOCK))
        content = b"".join(self._wanted(blocks))
        return content[start - blocks[0] * BLOCK : stop - blocks[0] * BLOCK]

    def _wanted(self, blocks: range) -> list[bytes]:
        """Return blocks; each run of those that are not in memory or on disk is one request."""
        found = {block: self.blocks[block] for block in blocks if block in self.blocks}
        for block in blocks:
            if block not in found:
                found |= self.kept.read(range(block, block + 1))
        missing = [block for block in blocks if block not in found]
        while missing:
            run = 1
            while run < len(missing) and missing[run] == missing[0] + run:
                run += 1
            begin, end = missing[0] * BLOCK, min((missing[0] + run) * BLOCK, self.size)
            content = self.path.read_part(begin, end, self.version)
            self.kept.keep(missing[0], content)
            for i, block in enumerate(missing[:run]):
                found[block] = content[i * BLOCK : (i + 1) * BLOCK]
            missing = missing[run:]
        for block in blocks:
            self.blocks[block] = found[block]
            self.blocks.move_to_end(block)
        while len(self.blocks) > KEPT_BLOCKS:
            self.blocks.popitem(last=False)
        return [found[block] for block in blocks]


def ranged(path: Any) -> io.BufferedReader:
    """Return the file for reading; it is copied whole where the server sends no parts of it."""
    head = path.head()
    if not head.has_ranges or head.size is None:
        return local_copy(path, lasting=True).open("rb")
    return io.BufferedReader(RangedFile(path), FIRST_BYTES)
