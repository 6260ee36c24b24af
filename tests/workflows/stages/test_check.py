"""Faults of settings that the check stage finds before any data are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import Faults, InputError
from tests.workflows.tiny import write_tiny
from workflows.config.finetuning import FinetuneSettings
from workflows.config.load import load_config
from workflows.config.schema import Inputs
from workflows.run import Run
from workflows.stages.check import _process_model, _regions


@pytest.mark.parametrize(
    ("settings", "where"),
    [({"head": "hbv"}, "finetune.head: hbv"), ({"baselines": ["hbv"]}, "finetune.baselines: hbv")],
)
def test_a_process_model_needs_its_forcings_and_streamflow(
    settings: dict[str, object], where: str
) -> None:
    inputs = Inputs(forcings=("precipitation",), statics=(), target="soil_moisture")
    finetune = FinetuneSettings(cube="basins", **settings)
    with pytest.raises(InputError) as error:
        _process_model(finetune, inputs)
    assert {fault.where for fault in error.value.faults} == {where}
    assert ["air_temperature" in f.expected for f in error.value.faults] == [True, False]
    right = Inputs(
        forcings=("precipitation", "air_temperature"), statics=(), target="streamflow"
    )  # fmt: skip
    _process_model(finetune, right)
    _process_model(FinetuneSettings(cube="basins"), inputs)


def test_the_numbers_of_regions_are_a_variable_of_a_source(tmp_path: Path) -> None:
    config, faults = write_tiny(tmp_path), Faults()
    for name in ("elevation", "elevatoin"):
        _regions(Run(load_config(config, [f"folds.regions.variable={name}"])), faults)
    (fault,) = faults.faults
    assert fault.where == "folds.regions.variable"
    assert '"elevation"' in fault.hint
