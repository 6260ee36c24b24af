"""The state of a training on disk: what it holds is what was written, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline.core.errors import InputError
from stefaland.training.state import Progress, load_state, save_state


@pytest.mark.parametrize("key, other", [('"sha256"', '"sha255"'), ('"epoch"', '"dpoch"'),
                                        ('"epoch": 2', '"epoch": 3')])  # fmt: skip
def test_a_state_whose_metadata_were_changed_is_refused(
    tmp_path: Path, key: str, other: str
) -> None:
    path, model = tmp_path / "state.safetensors", torch.nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    save_state(path, Progress(epoch=2), "identity", model=model, optimiser=optimiser,
               averaged=None, best=None)  # fmt: skip
    found = load_state(path, "identity", model, optimiser)
    assert found is not None
    assert found[0] == Progress(epoch=2)
    with safe_open(str(path), framework="pt") as store:
        state = store.metadata()["state"]
        tensors = {name: store.get_tensor(name) for name in store.keys()}  # noqa: SIM118
    assert key in state
    changed = state.replace(key, other)
    assert json.loads(changed)
    save_file(tensors, str(path), {"state": changed})
    with pytest.raises(InputError, match=r"Remove .* and run the same command"):
        load_state(path, "identity", model, optimiser)
