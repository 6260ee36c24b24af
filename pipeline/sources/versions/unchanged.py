"""unchanged(): check that source files do not change while a cube is built from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import Faults
from pipeline.core.provenance import path_stamp
from pipeline.entries.source import Source
from pipeline.readers.registry import files_of
from pipeline.sources.versions.contents import Content, contents_of


@contextmanager
def unchanged(
    sources: Sequence[Source], known: Mapping[str, Content] | None = None, root: Path | None = None
) -> Iterator[None]:
    """Raise `InputError` at the end of the context if a source file has changed since the start.

    Files whose content is `known` (see `contents_of`, also for `root`) are not read at the start,
    and at the end only those are read whose status has changed.
    """

    def stamps() -> dict[str, dict[str, tuple[int, int]]]:
        return {
            part.name: {name: (size, time) for name, size, time in stamps_of(part)}
            for source in sources
            for part in source.parts
        }

    before, held = stamps(), contents_of(sources, known or {}, root)
    yield
    changed = [
        (f"source {name}", file)
        for name, files in stamps().items()
        for file in sorted({*files, *before[name]})
        if files.get(file) != before[name].get(file)
    ]
    if not changed:
        after = contents_of(sources, held, root)
        changed = [
            ("sources", file)
            for file, one in held.items()
            if file not in after or after[file].digest != one.digest
        ]
    faults = Faults()
    for where, file in changed:
        faults.add(
            where, f"{file} changed while it was read", "files that do not change during a run",
            "Run again: cubes built from two versions are discarded.",
        )  # fmt: skip
    faults.raise_if_any()


def stamps_of(source: Source) -> list[tuple[str, int, int]]:
    """Return name, bytes and modification time (ns) of each file of a source, in order."""
    return [stamp for file in files_of(source) for stamp in path_stamp(file)]
