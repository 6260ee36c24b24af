"""The manifest of a released encoder: size and SHA-256 sum of each of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.settings import Frozen, validated
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.core.written.names import PathName
from stefaland.checkpoints.names import CONFIG, DATA, WEIGHTS

MANIFEST = "manifest.json"
NEEDED = (CONFIG, DATA, WEIGHTS)
"""The files without which there is no encoder."""
LARGEST = 4 << 30
"""Maximum size of a file in bytes."""


class ReleasedFile(Frozen):
    """Size and digest of one file."""

    size: Annotated[int, Field(ge=0, le=LARGEST)]
    """Number of bytes."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    def fits(self, content: bytes | memoryview) -> bool:
        """Whether these are the bytes of the file."""
        same = len(content) == self.size
        return same and hashlib.sha256(content).hexdigest() == self.sha256


class Manifest(Frozen):
    """Name of a release, and its files by name."""

    format: Literal[1] = 1
    name: PathName
    files: dict[PathName, ReleasedFile]

    @classmethod
    def of(cls, name: str, files: Mapping[str, bytes]) -> Manifest:
        """The manifest of these contents.

        >>> Manifest.of("tiny", {"README.md": b""}).files["README.md"].size
        0
        """
        found = {
            file: ReleasedFile(size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for file, content in files.items()
        }
        return cls(name=name, files=found)

    @classmethod
    def read(cls, content: bytes, where: str) -> Manifest:
        """The manifest of a file's content; raises `InputError` for one without an encoder."""
        try:
            stored = parse_json(content)
        except LIBRARY_ERRORS as error:
            raise bad_input(where, f"no JSON ({error})", "the manifest of a release") from None
        found = validated(cls, stored, where)
        missing = [name for name in NEEDED if name not in found.files]
        if missing:
            raise bad_input(where, f"no {', '.join(missing)}", f"{', '.join(NEEDED)} of an encoder")
        return found

    def text(self) -> bytes:
        """The manifest as JSON."""
        return (json.dumps(self.model_dump(mode="json"), indent=2) + "\n").encode()
