"""Arguments and options shared by several commands, and the run that they describe."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.errors import InputError, bad_input
from workflows.cli.completion import complete_cluster, complete_config
from workflows.console import print_json

if TYPE_CHECKING:
    from workflows.run import Run

LOG = logging.getLogger(__name__)

LOG_FILE = "--log-file"
OUTPUT_PANEL = "Output options"
Version = Annotated[
    bool,
    typer.Option("--version", help="Print the version; with -v also those of main packages."),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Show debug messages as well.", rich_help_panel=OUTPUT_PANEL
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Show only results, warnings and errors.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]  # fmt: skip
LogFile = Annotated[
    Path | None,
    typer.Option(
        LOG_FILE, help="File to which everything printed and logged is appended.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]  # fmt: skip
ShowPaths = Annotated[
    bool,
    typer.Option(
        "--show-paths",
        help="Write and print absolute paths, instead of ${data}/…, ${runs}/… and ~/….",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="Config file, or name of a packaged config such as quickstart.",
        autocompletion=complete_config,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Setting to change, such as pretrain.epochs=3. May be repeated.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run; compute nothing.")]
Resume = Annotated[
    bool,
    typer.Option("--resume/--restart", help="Skip what is finished, or compute everything again."),
]
Upgrade = Annotated[
    bool,
    typer.Option(
        "--upgrade",
        help="Make the outputs of another version again, which are else refused and kept.",
    ),
]
Part = Annotated[
    str,
    typer.Option(metavar="I/N", help="Part of the tiles to compute, such as 2/8; for array jobs."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="Where tiles are computed: none (this process), local (processes), slurm, or the "
        "address of a Dask scheduler. By default as set in the config.",
        autocompletion=complete_cluster,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON document (docs/json.md)."),
]


def examples(*commands: str) -> str:
    """The end of a command's help: example commands that can be run as printed."""
    return "\n\n".join(["Example:" if len(commands) == 1 else "Examples:", *commands])


def part_of(text: str) -> tuple[int, int]:
    """The pair (i, n) parsed from "i/n"; `InputError` unless 1 <= i <= n."""
    try:
        i, n = (int(number) for number in text.split("/"))
    except ValueError:
        i, n = 0, 0
    if not 1 <= i <= n:
        raise bad_input("--part", f'"{text}"', "i/n with 1 <= i <= n, e.g. 2/8")
    return i, n


def separated(values: Iterable[str] | None) -> list[str]:
    """The values of an option that may be repeated, separated by commas, or both."""
    return [part.strip() for value in values or () for part in value.split(",")]


def whole_numbers(option: str, values: Iterable[str]) -> list[int]:
    """The values of an option as whole numbers; `InputError` where one is not."""
    try:
        return [int(value) for value in values]
    except ValueError:
        found = f'"{",".join(values)}"'
        raise bad_input(option, found, "whole numbers, e.g. 0,1,2") from None


def cluster_settings(value: str | None) -> list[str]:
    """The `--set` settings equivalent to --cluster."""
    if value is None:
        return []
    if value in ("none", "local", "slurm"):
        return [f"cluster.kind={value}"]
    return ["cluster.kind=address", f"cluster.address={value}"]


def open_run(
    config: str,
    settings: Iterable[str] | None = None,
    cluster: str | None = None,
    resume: bool = True,
    part: str = "1/1",
) -> Run:
    """The run that a config and the options describe."""
    from workflows.config.load import load_config
    from workflows.run import Run

    loaded = load_config(config, [*(settings or ()), *cluster_settings(cluster)])
    run = Run(loaded, resume, part_of(part))
    LOG.debug("run %s in %s, part %s", loaded.name, run.folder, part)
    return run


def show_plan(run: Run, first: str, last: str, as_json: bool = False) -> None:
    """Print the plan of the stages from `first` to `last`; it fails where it exceeds this machine.

    With `as_json` the faults are in the document and the exit code is 2, else raises `InputError`.
    """
    from workflows.commands.plan import plan_document, plan_run, print_plan

    plan = plan_run(run, first, last)
    if not as_json:
        print_plan(plan)
        if plan.faults:
            raise InputError(plan.faults)
        return
    print_json(plan_document(plan))
    if plan.faults:
        raise typer.Exit(2)


def run_one_stage(run: Run, name: str, dry_run: bool, upgrade: bool = False) -> None:
    """Run one stage, or print its plan with `dry_run`; `upgrade` allows outputs to be replaced."""
    from workflows.stages.order import run_stage_by_name

    if dry_run:
        show_plan(run, name, name)
    else:
        run_stage_by_name(run, name, upgrade)


def add_stage(app: typer.Typer, name: str, panel: str, text: str, example: str) -> None:
    """Add the command of a stage that has no options of its own."""

    @app.command(name, help=text, rich_help_panel=panel, epilog=examples(example))
    def stage(
        config: Config,
        settings: Settings = None,
        dry_run: DryRun = False,
        resume: Resume = True,
        part: Part = "1/1",
        cluster: Cluster = None,
        upgrade: Upgrade = False,
    ) -> None:
        run_one_stage(open_run(config, settings, cluster, resume, part), name, dry_run, upgrade)
