"""The `stefaland` application: panels in the order of the data, output options, exit codes."""

from __future__ import annotations

import logging
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from itertools import islice
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from pipeline.core.errors import InputError
from pipeline.core.system.failures import system_fault
from pipeline.core.system.time_limit import has_stuck_threads
from pipeline.core.written.logs import print_uncaught, public_logs
from workflows.cli import begin, data, maps, model, runs, scores
from workflows.cli.options import LOG_FILE, LogFile, Quiet, ShowPaths, Verbose, Version, examples
from workflows.console import (
    OUTPUT,
    REPORT,
    faults_document,
    print_json,
    set_up,
    write_to_log,
)

LOG = logging.getLogger(__name__)
FLAGS = ("-v", "--verbose", "-q", "--quiet", "--show-paths")


def output_options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments reordered so that the output options come before the command."""
    first, rest = [], []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in FLAGS or word.startswith(f"{LOG_FILE}="):
            first.append(word)
        elif word == LOG_FILE:
            first += [word, *islice(words, 1)]
        else:
            rest.append(word)
    return [*first, *rest]


class CommandLine(TyperGroup):
    """The group of all commands; accepts output options anywhere and reports an interrupt."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, output options first."""
        return super().parse_args(ctx, output_options_first(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the exit code is 130 after Ctrl-C or SIGTERM."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            REPORT.plain("interrupted; run the same command again to go on from here")
            raise typer.Exit(130) from None


app = typer.Typer(cls=CommandLine, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(
    data.catalog_app,
    name="catalog",
    rich_help_panel=data.PANEL,
    help="List, search, show, check and draft the data sources that catalogs describe.",
)
app.add_typer(
    begin.grid_app,
    name="grid",
    rich_help_panel=begin.PANEL,
    help="Add target grids of your own.",
)
for panel in (begin, data, model, maps, scores, runs):
    app.add_typer(panel.app)


@app.callback(invoke_without_command=True, epilog=examples("stefaland run quickstart"))
def command_line(
    ctx: typer.Context,
    version: Version = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    paths: ShowPaths = False,
) -> None:
    """Predict the land surface, from forcings and rasters to maps.

    Output options may stand before or after the command.
    """
    set_up(verbose, quiet, log_file, paths)
    if version:
        _print_version(verbose)
    elif ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")
    else:
        LOG.debug("stefaland %s on Python %s", metadata.version("stefaland"),
                  platform.python_version())  # fmt: skip


def _print_version(all_packages: bool) -> None:
    OUTPUT.plain(f"stefaland {metadata.version('stefaland')}")
    if all_packages:
        from workflows.commands.doctor import package_versions

        for name, version in package_versions().items():
            if name != "stefaland":
                OUTPUT.plain(f"{name} {version}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 success, 1 internal error, 2 bad input, 130 interrupted."""
    # OpenMP threads that spin while they wait take cores from other processes: work on a shared
    # node becomes three to five times slower. Torch reads the variable when it is imported, later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        public_logs()
    try:
        _run(words)
    except SystemExit as end:
        if arguments is None and has_stuck_threads():
            _end_at_once(end)
        raise


def _end_at_once(end: SystemExit) -> NoReturn:
    """End this process although a library's thread, which Python waits for, never will."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def _run(words: Sequence[str]) -> None:
    """Run a command line; bad input is printed, one line a fault, and exits with 2."""
    try:
        app(words)
    except InputError as error:
        _fail(error, words)
    except Exception as error:
        write_to_log(traceback.format_exc())
        if (fault := system_fault(error)) is None:
            # Typer has set a hook of its own, which prints what the error quotes.
            sys.excepthook = print_uncaught
            raise
        _fail(InputError([fault]), words)


def _fail(error: InputError, words: Sequence[str]) -> NoReturn:
    """Print the faults of an error, one a line, and exit with 2."""
    LOG.debug("traceback of the error", exc_info=True)
    if "--json" in words:
        print_json(faults_document(error))
    for fault in error.faults:
        REPORT.plain(f"error: {fault}")
    sys.exit(2)
