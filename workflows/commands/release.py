"""A pretrained encoder as a folder to publish: `stefaland release CONFIG --name NAME --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import bad_input, listed, nearest_name
from pipeline.core.files import FileSet, make_folder
from pipeline.core.written.names import checked_name
from stefaland.checkpoints.checkpoint import load_encoder, stored_normaliser
from stefaland.checkpoints.manifest import MANIFEST, Manifest
from stefaland.checkpoints.names import CARD, CONFIG, DATA, WEIGHTS
from workflows.commands.release_texts import Release, data_statement, readme, site_table
from workflows.fingerprints import version
from workflows.inputs.folds import FoldFiles
from workflows.inputs.pretraining_cells import KEY, records
from workflows.run import Run, source_entries
from workflows.stages.order import require_sound, require_stage

README, STATEMENT, SITES = "README.md", "DATA_STATEMENT.md", "sites.csv"
LICENCE = "apache-2.0"


def release(
    run: Run, name: str, folder: Path, fold: str | None = None, licence: str = LICENCE
) -> dict[str, Any]:
    """Write the encoder of a fold with its card, data statement, sites and manifest to a folder.

    Returns the folder, the digest of the manifest and what the card warns of. Raises `InputError`
    for a folder that holds something, an encoder that is not there, was changed or is of other
    settings, one that was given to the run, and one without a record of the cells that pretrained
    it.
    """
    checked_name("--name", name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise bad_input(str(folder), "something is there already", "a new or empty folder")
    require_stage(run, "pretrain", "stefaland release", "a pretrained encoder")
    checkpoint = run.pretrained(_fold(run, fold))
    require_sound(run.folder, ["pretrain"], below=str(checkpoint.relative_to(run.folder)))
    model, data = load_encoder(checkpoint)
    stored_normaliser(checkpoint, data)
    if "taken_from" in data:
        # Sources, licences and caveats of this run are not those of its pretraining.
        raise bad_input(
            f"stefaland release of {run.config.name}",
            f"an encoder that was given to this run: {data['taken_from'].get('folder')}",
            "one that this run pretrained", "Release it by the run that pretrained it, or, if it "
            "is a release already, copy its folder.",
        )  # fmt: skip
    seen = records(data, str(checkpoint / DATA))
    if not seen:
        raise bad_input(
            f"{checkpoint / DATA}: {KEY}", "no record of the cells that pretrained it",
            "their coordinates, by which others find leaks",
            "Run `stefaland pretrain CONFIG --restart` with this version.",
        )  # fmt: skip
    made = Release(
        name=name, licence=licence, title=run.config.title, settings=model.config, data=data,
        seen=seen, sources=source_entries(run), caveats=run.config.caveats,
        parameters=sum(p.numel() for p in model.parameters()), version=version(),
    )  # fmt: skip
    files = {file: (checkpoint / file).read_bytes() for file in (WEIGHTS, CONFIG, DATA, CARD)}
    files |= {
        README: readme(made).encode(),
        STATEMENT: data_statement(made).encode(),
        SITES: site_table(seen).encode(),
    }
    manifest = Manifest.of(name, files)
    make_folder(folder)
    with FileSet() as written:
        for file, content in {**files, MANIFEST: manifest.text()}.items():
            written.add(folder / file, [content])
    return {
        "folder": str(folder),
        "manifest_sha256": Manifest.of(name, {MANIFEST: manifest.text()}).files[MANIFEST].sha256,
        "files": {file: one.size for file, one in manifest.files.items()},
        "verdict": made.verdict,
    }


def _fold(run: Run, fold: str | None) -> str:
    """The named fold, or the only one of the run."""
    names = FoldFiles(run.folder).names()
    if fold is None and len(names) > 1:
        raise bad_input("--fold", "nothing", f"one of the run's folds, {listed(names)}")
    if fold is not None and fold not in names:
        hint = nearest_name(fold, names)
        raise bad_input("--fold", f'"{fold}"', f"one of {', '.join(names)}", hint)
    return fold or names[0]
