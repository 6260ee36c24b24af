"""The command line: `stefaland run CONFIG`, each stage by its name, `catalog`, `doctor`.

stefaland run workflows/configs/quickstart.yml
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import InputError, bad_input
from workflows.config.load import load_config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Land-surface prediction from forcings and rasters to maps.",
)
catalog_app = typer.Typer(no_args_is_help=True, help="The data sources that catalogs describe.")
app.add_typer(catalog_app, name="catalog")

Config = Annotated[str, typer.Argument(help="A config file, or the name of a packaged one.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, e.g. pretrain.epochs=3; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run; compute nothing.")]
Resume = Annotated[bool, typer.Option("--resume/--restart", help="Skip what is finished.")]
Part = Annotated[str, typer.Option(help="i/n: only this share of the tiles, for array jobs.")]
Cluster = Annotated[str | None, typer.Option(help="none, local, slurm or a scheduler address.")]


def _part(text: str) -> tuple[int, int]:
    try:
        i, n = (int(number) for number in text.split("/"))
    except ValueError:
        i, n = 0, 0
    if not 1 <= i <= n:
        raise bad_input("--part", f'"{text}"', "i/n with 1 <= i <= n, e.g. 2/8")
    return i, n


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise bad_input("--seeds", f'"{text}"', "whole numbers, e.g. 0,1,2") from None


def _cluster(value: str | None) -> list[str]:
    if value is None:
        return []
    if value in ("none", "local", "slurm"):
        return [f"cluster.kind={value}"]
    return ["cluster.kind=address", f"cluster.address={value}"]


@app.command()
def run(
    config: Config,
    first: Annotated[str, typer.Option("--from", help="The first stage.")] = "check",
    last: Annotated[str, typer.Option("--until", help="The last stage.")] = "report",
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    cluster: Cluster = None,
) -> None:
    """Run the stages of CONFIG in order; finished stages and tiles are skipped."""
    from workflows.commands.plan import print_plan
    from workflows.run import Run
    from workflows.stages.order import run_stages

    loaded = Run(load_config(config, [*(settings or []), *_cluster(cluster)]), resume)
    if dry_run:
        print_plan(loaded, first, last)
    else:
        run_stages(loaded, first, last)


@app.command()
def plan(config: Config, settings: Settings = None, cluster: Cluster = None) -> None:
    """Say what a run would cost: tiles, bytes, memory, files, time; compute nothing."""
    from workflows.commands.plan import print_plan
    from workflows.run import Run

    chosen = load_config(config, [*(settings or []), *_cluster(cluster)])
    print_plan(Run(chosen), "check", "report")


def _stage_command(name: str) -> Callable[..., None]:
    def command(
        config: Config,
        settings: Settings = None,
        dry_run: DryRun = False,
        resume: Resume = True,
        part: Part = "1/1",
        cluster: Cluster = None,
    ) -> None:
        from workflows.commands.plan import print_plan
        from workflows.run import Run
        from workflows.stages.order import run_stage_by_name

        loaded = Run(
            load_config(config, [*(settings or []), *_cluster(cluster)]), resume, _part(part)
        )
        if dry_run:
            print_plan(loaded, name, name)
        else:
            run_stage_by_name(loaded, name)

    return command


STAGE_HELP = {
    "check": "Check config, catalog, data files and folders; compute nothing.",
    "regrid": "Bring every source onto the target grids, as cubes.",
    "stats": "Make the folds and the training statistics of each.",
    "pretrain": "Pretrain the masked autoencoder on each fold's training cells.",
    "finetune": "Finetune on the target, and train the baselines on the same folds.",
    "predict": "Predict every land cell of the maps' grids.",
    "mosaic": "Put predicted tiles together as maps, in each product's grid.",
    "report": "Write report.html.",
}
# `publish` and `score` have commands of their own, which also verify and compare.
for _name, _help in STAGE_HELP.items():
    app.command(name=_name, help=_help)(_stage_command(_name))


@app.command()
def score(
    config: Annotated[str | None, typer.Argument(help="A config file, or a packaged one.")] = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two finished runs instead: folders, or FOLDER:MODEL."),
    ] = None,
    scores: Annotated[str, typer.Option(help="What to compare, a,b,c.")] = "NSE,KGE,RMSE",
    out: Annotated[Path | None, typer.Option(help="Where the comparison goes.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    part: Part = "1/1",
    cluster: Cluster = None,
) -> None:
    """Score all models on held-out locations, or compare two finished runs."""
    from workflows.commands.compare import print_comparison

    if (config is None) == (compare is None):
        raise bad_input("score", "both or neither", "either a CONFIG or --compare RUN_A RUN_B")
    if compare is not None:
        print_comparison(compare, [name.strip() for name in scores.split(",")], out, seed)
    elif config is not None:
        _stage_command("score")(config, settings, dry_run, resume, part, cluster)


@app.command()
def publish(
    config: Config,
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    verify: Annotated[bool, typer.Option("--verify", help="Reopen what was published.")] = False,
    part: Part = "1/1",
    cluster: Cluster = None,
) -> None:
    """Write GeoTIFFs, styles, previews, Zarr and STAC, and verify them."""
    from workflows.run import Run
    from workflows.stages.publish import verify_published

    if verify:
        count = verify_published(Run(load_config(config, settings or [])))
        print(f"{count} maps, their styles, the STAC collection and the QGIS project are sound")
    else:
        _stage_command("publish")(config, settings, dry_run, resume, part, cluster)


@app.command()
def sweep(
    config: Config,
    seeds: Annotated[str, typer.Option(help="Random seeds, a,b,c.")] = "0,1,2",
    adapters: Annotated[str | None, typer.Option(help="Adapters, a,b,c; the config's.")] = None,
    models: Annotated[
        str | None, typer.Option(help="Models, a,b,c; stefaland and the config's baselines.")
    ] = None,
    settings: Settings = None,
    part: Part = "1/1",
) -> None:
    """Train folds x seeds x adapters (and baselines), shared by parts; compare their scores."""
    from workflows.commands.sweep import sweep
    from workflows.run import Run

    loaded = Run(load_config(config, settings or []), part=_part(part))
    finetune = loaded.config.finetune
    sweep(
        loaded,
        _numbers(seeds),
        adapters.split(",") if adapters else [finetune.adapter],
        models.split(",") if models else ["stefaland", *finetune.baselines],
    )


@app.command()
def submit(config: Config, settings: Settings = None, dry_run: DryRun = False) -> None:
    """Submit the whole run to SLURM as jobs that wait for each other; print their ids."""
    from workflows.commands.submit import submit
    from workflows.run import Run

    for line in submit(Run(load_config(config, settings or [])), dry_run):
        print(line)


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Where a run stands: stages, tiles done, failed and missing, rates, last errors."""
    from workflows.commands.status import print_status

    print_status(folder)


@app.command()
def verify(
    cube: Annotated[Path, typer.Argument(help="A cube below cubes/ or predictions/ of a run.")],
    repair: Annotated[
        bool, typer.Option(help="Have the next run write what is bad again.")
    ] = False,
) -> None:
    """Check a cube's metadata, coordinates and every shard: holes, corrupt bytes, wrong values."""
    from workflows.commands.verify import verify

    problems, names = verify(cube, repair)
    for problem in problems:
        print(problem)
    if names:
        print(f"{len(names)} tiles or files will be written again by the next run: "
              f"{', '.join(names)}")  # fmt: skip
    if problems:
        raise typer.Exit(1)
    print(f"{cube}: sound")


@app.command()
def embed(
    config: Config,
    settings: Settings = None,
    fold: Annotated[str | None, typer.Option(help="Whose pretrained encoder; the first.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Another pretrained checkpoint's folder.")
    ] = None,
    part: Part = "1/1",
) -> None:
    """Write the encoder's representation of every land cell, as Zarr and as a COG."""
    from workflows.commands.embed import embed
    from workflows.run import Run

    for path in embed(Run(load_config(config, settings or []), part=_part(part)), fold, checkpoint):
        print(path)


@app.command()
def import_reference(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of the published code (.pt).")],
    folder: Annotated[Path, typer.Argument(help="Where our checkpoint goes.")],
    statistics: Annotated[
        Path | None, typer.Option(help="JSON: {variable: {mean, std, transform}} of its training.")
    ] = None,
    forcings: Annotated[str | None, typer.Option(help="Names in training order, a,b,c.")] = None,
    statics: Annotated[str | None, typer.Option(help="Names in training order, a,b,c.")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads; tensors do not tell.")] = None,
    units: Annotated[
        Path | None, typer.Option(help="JSON: {variable: unit} of the statistics.")
    ] = None,
) -> None:
    """Bring a checkpoint of the published code into ours; say what did not map."""
    from workflows.commands.import_reference import import_checkpoint

    print(import_checkpoint(checkpoint, folder, statistics, forcings, statics, heads, units))


Catalogs = Annotated[list[str], typer.Argument(help="Catalog files, or names of packaged ones.")]
Data = Annotated[Path, typer.Option(help="The data folder.", envvar="STEFALAND_DATA")]
DATA = Path("data/registry")
Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", help="Module beside the catalog; repeatable.")
]


@catalog_app.command("list")
def catalog_list(catalogs: Catalogs, data: Data = DATA, plugins: Plugins = None) -> None:
    """List the sources of catalogs: driver, variables, licence."""
    from workflows.commands.catalog import list_sources

    list_sources(catalogs, data, plugins or [])


@catalog_app.command("show")
def catalog_show(catalog: str, source: str, data: Data = DATA, plugins: Plugins = None) -> None:
    """Show one source's entry and what its files hold."""
    from workflows.commands.catalog import show_source

    show_source(catalog, source, data, plugins or [])


@catalog_app.command("check")
def catalog_check(catalogs: Catalogs, data: Data = DATA, plugins: Plugins = None) -> None:
    """Compare every source's files with its entry; all faults together."""
    from workflows.commands.catalog import check_sources

    check_sources(catalogs, data, plugins or [])


@app.command()
def doctor() -> None:
    """Versions, GDAL and PROJ, devices, memory and disk of this machine."""
    from workflows.commands.doctor import print_doctor

    print_doctor()


def main(arguments: list[str] | None = None) -> None:
    """Entry point: bad input ends with one message and exit code 2, an interrupt with 130."""
    # Threads that spin while they wait take the cores from whoever else is at work: three to five
    # times slower on a shared node. Read when torch is loaded, which is after this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    level = os.environ.get("STEFALAND_LOG", "WARNING").upper()
    logging.basicConfig(level=level)
    for handler in logging.getLogger().handlers:
        # Libraries set levels of their own; what is shown is decided here.
        handler.setLevel(level)
    # CF's unit definitions overwrite pint's own on purpose.
    logging.getLogger("pint.util").setLevel(logging.ERROR)
    try:
        app(arguments, standalone_mode=True)
    except InputError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
