"""Consoles to which commands and stages print, logging, and the log file with a copy of both."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from rich.console import Console
from rich.text import Text

from pipeline.core.addresses import public_text
from pipeline.core.errors import InputError, bad_input, nearest_name
from pipeline.core.written.characters import printable
from pipeline.core.written.logs import warning_text
from pipeline.core.written.references import as_printed, as_written, show_paths

PACKAGES = ("pipeline", "stefaland", "workflows")
LOG_WIDTH = 120
"""Width in columns of output to pipes and log files."""


class PublicConsole(Console):
    """A rich console that prints texts, also those in tables, as `as_printed` returns them.

    Texts of `results`, which other programs may read, keep the home folder and whole addresses.
    """

    def __init__(self, results: bool = False, **options: Any) -> None:
        # Texts of configs and data may look like rich's markup.
        super().__init__(markup=False, emoji=False, **options)
        self.results = results

    def public(self, text: str) -> str:
        """Return a text as it is printed here."""
        return printable(as_written(text, folders=False)) if self.results else as_printed(text)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich does."""
        return super().render_str(self.public(text), **options)


class CopiedConsole(PublicConsole):
    """A console whose output is copied to the log file as plain text."""

    copy: ClassVar[Console | None] = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; output hidden by `quiet` is still written to the log file."""
        if (columns := _width(self.file)) is not None:
            self.width = columns
        super().print(*objects, **options)
        if self.copy is not None:
            self.copy.print(*objects, **options)

    @property
    def log_file(self) -> Path | None:
        """Path of the log file, if there is one."""
        name = getattr(self.copy and self.copy.file, "name", None)
        return None if name is None else Path(name)

    def plain(self, text: str) -> None:
        """Print a text without wrapping or markup."""
        print(_printable(self.public(text), self.file), file=self.file)
        write_to_log(text)


def write_to_log(text: str) -> None:
    """Write a text to the log file only, if there is one."""
    if CopiedConsole.copy is not None:
        file = CopiedConsole.copy.file
        print(_printable(public_text(as_printed(text)), file), file=file)


def _printable(text: str, file: IO[str]) -> str:
    """Return a text with what the file cannot encode, such as bytes of names, as escapes."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _width(stream: IO[str]) -> int | None:
    """Present width in columns of a console on `stream`; None where the terminal determines it."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return int(columns)
    return None if stream.isatty() else LOG_WIDTH


CONSOLE = CopiedConsole(stderr=True, highlight=False, width=_width(sys.stderr))
"""Console of progress messages on standard error, hidden by `--quiet`."""
REPORT = CopiedConsole(stderr=True, highlight=False, width=_width(sys.stderr))
"""Console of requested tables, warnings and errors on standard error."""
OUTPUT = CopiedConsole(results=True, highlight=False, width=_width(sys.stdout))
"""Console of results on standard output, which other programs may read."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print a value as one JSON document on standard output; its numbers must be finite."""
    OUTPUT.plain(json.dumps(document, indent=2, allow_nan=False))


def faults_document(error: InputError) -> dict[str, Any]:
    """The document that `--json` prints for bad input."""
    keys = ("where", "found", "expected", "hint")
    faults = [
        dict(zip(keys, map(as_printed, dataclasses.astuple(fault)), strict=True))
        for fault in error.faults
    ]
    return {"faults": faults}


class PublicFormatter(logging.Formatter):
    """Formatter of log messages and their tracebacks as `as_printed` returns them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return as_printed(super().format(record))


def set_up(
    verbose: bool = False, quiet: bool = False, log_file: Path | None = None, paths: bool = False
) -> None:
    """Set up the output of this process and its log file.

    Log messages are shown from WARNING up, or from the level in the environment variable
    STEFALAND_LOG; `verbose` shows all messages of this package; `quiet` hides everything but
    results, warnings and errors. Output is appended to `log_file`. With `paths`, absolute paths are
    written and printed as they are. Raises `InputError` where the log file cannot be written, and
    for settings that contradict each other.
    """
    if verbose and quiet:
        raise bad_input("the command line", "--verbose and --quiet", "one of them")
    level = _environment_level()
    level = max(level, logging.WARNING) if quiet else level
    package_level = logging.DEBUG if verbose else level
    for name in PACKAGES:
        logging.getLogger(name).setLevel(package_level if verbose or quiet else logging.NOTSET)
    CONSOLE.quiet = quiet
    show_paths(paths)
    warnings.formatwarning = warning_text
    _replace_handlers(log_file, level, package_level)


def _environment_level() -> int:
    known = logging.getLevelNamesMapping()
    name = os.environ.get("STEFALAND_LOG", "WARNING").upper()
    if name not in known:
        raise bad_input(
            "the environment variable STEFALAND_LOG", f'"{name}"', f"one of {', '.join(known)}",
            nearest_name(name, known),
        )  # fmt: skip
    return known[name]


_HANDLERS: list[logging.Handler] = []
"""Handlers that this module has added to the root logger."""


def _replace_handlers(log_file: Path | None, level: int, package_level: int) -> None:
    from rich.logging import RichHandler

    root = logging.getLogger()
    while _HANDLERS:
        root.removeHandler(_HANDLERS.pop())
    if CopiedConsole.copy is not None:
        CopiedConsole.copy.file.close()
        CopiedConsole.copy = None
    # A separate console, because `quiet` must not hide warnings.
    terminal = PublicConsole(stderr=True, width=_width(sys.stderr))
    screen = RichHandler(console=terminal, show_time=False, show_path=False)
    screen.setFormatter(PublicFormatter("%(name)s: %(message)s"))
    _HANDLERS.append(screen)
    if log_file is not None:
        _HANDLERS.append(_log_handler(log_file))
    root.setLevel(level)
    for handler in _HANDLERS:
        # Libraries set levels on their own loggers, so the threshold is applied here again.
        handler.addFilter(_without_queries)
        handler.addFilter(
            lambda record: record.levelno >= (package_level if _is_of_package(record) else level)
        )
        root.addHandler(handler)


def _without_queries(record: logging.LogRecord) -> bool:
    """Take the queries of addresses, which may be signatures, out of a message of any library."""
    record.msg, record.args = public_text(record.getMessage()), None
    return True


def _is_of_package(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] in PACKAGES


def _log_handler(path: Path) -> logging.Handler:
    """A handler that appends to `path`; the consoles copy their output to the same file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise bad_input(
            f"--log-file {path}", f"a file that cannot be written ({error.strerror})",
            "a writable file", "Choose another folder.",
        ) from None  # fmt: skip
    CopiedConsole.copy = PublicConsole(file=file, width=LOG_WIDTH, color_system=None)
    handler = logging.StreamHandler(file)
    handler.setFormatter(PublicFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
