"""Adapters, decoders over time and the finetuned network on top of an encoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.config import FinetuneConfig
from stefaland.model.adapters import ADAPTERS, MixtureOfExperts, make_adapter
from stefaland.model.finetuned import FinetunedModel
from stefaland.model.heads import DECODERS, make_head
from stefaland.model.mae import StefaLand
from tests.networks import CLASSES, STATICS, STEPS, small_batch, small_config

NAMES = {
    "dual_residual", "gated", "bottleneck", "feed_forward", "convolution", "attention",
    "mixture_of_experts", "lora", "none",
}  # fmt: skip


def network(adapter: str = "dual_residual", **settings: object) -> FinetunedModel:
    torch.manual_seed(0)
    config = FinetuneConfig(adapter=adapter, **settings)
    return FinetunedModel(small_config(dropout=0.1), config, n_targets=2)


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_all_adapters_are_registered() -> None:
    assert set(ADAPTERS.names()) == NAMES
    with pytest.raises(InputError, match='Did you mean "gated"'):
        make_adapter("gatd", 8, 2, 2)
    with pytest.raises(InputError, match="gaussian, hbv, point"):
        make_head("tweedie", 8, 1)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("n_statics", [5, 0])
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_adapters_keep_the_shape(name: str, n_statics: int) -> None:
    adapter = make_adapter(name, 16, 3, n_statics)
    h, x = torch.randn(2, STEPS, 16), torch.randn(2, STEPS, 3)
    assert adapter(h, x, torch.randn(2, n_statics)).shape == h.shape


@pytest.mark.parametrize("name", sorted(NAMES - {"none", "lora"}))
def test_adapters_read_features_forcings_and_statics(name: str) -> None:
    torch.manual_seed(0)
    adapter = make_adapter(name, 16, 3, 5).eval()
    h, x, c = torch.randn(2, STEPS, 16), torch.randn(2, STEPS, 3), torch.randn(2, 5)
    before = adapter(h, x, c)
    for changed in ((h + 1e-1 * h.sin(), x, c), (h, x + 1, c), (h, x, c + 1)):
        assert not torch.allclose(adapter(*changed), before)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_a_frozen_encoder_gets_no_gradient(name: str, decoder: str) -> None:
    model = network(name, decoder=decoder).train()
    prediction = model(small_batch())
    assert prediction.mean.shape == (4, STEPS, 2)
    assert prediction.scale is not None
    assert bool((prediction.scale > 0).all())
    (prediction.mean.sum() + prediction.scale.sum()).backward()
    for part, parameter in model.named_parameters():
        is_trained = not part.startswith("encoder.") or "parametrizations.weight.0" in part
        assert parameter.requires_grad is is_trained, part
        assert (parameter.grad is not None) is is_trained, part


def test_a_frozen_encoder_does_not_drop_out() -> None:
    model = network("none", decoder="linear", head="point").train()
    batch = small_batch()
    assert torch.equal(model(batch).mean, model(batch).mean)
    loose = network("none", decoder="linear", head="point", unfreeze="all").train()
    assert not torch.equal(loose(batch).mean, loose(batch).mean)


@pytest.mark.parametrize(("layers", "expected"), [(1, {1}), (2, {0, 1}), (9, {0, 1})])
def test_the_last_layers_can_be_trained(layers: int, expected: set[int]) -> None:
    names = trained(network(unfreeze=layers))
    prefix = "encoder.encoder.stack.layers."
    assert {int(n[len(prefix)]) for n in names if n.startswith(prefix)} == expected
    assert "encoder.encoder.out.weight" in names
    assert not any(n.startswith(("encoder.tokens", "encoder.decoder")) for n in names)


def test_unfreezing_all_leaves_the_reconstruction_out() -> None:
    names = trained(network(unfreeze="all"))
    assert any(n.startswith("encoder.tokens") for n in names)
    assert not any("heads" in n or n.startswith("encoder.decoder") for n in names)


def test_low_rank_parts_begin_as_the_pretrained_encoder() -> None:
    torch.manual_seed(0)
    encoder = StefaLand(small_config())
    batch = small_batch()
    before = encoder.encode(batch)
    model = FinetunedModel(small_config(), FinetuneConfig(adapter="lora"), 1, encoder)
    torch.testing.assert_close(model.encoder.encode(batch), before)
    low_rank = [n for n in trained(model) if n.startswith("encoder.")]
    assert len(low_rank) == 2 * 2 * 4
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        model(batch).mean.square().mean().backward()
        optimiser.step()
    assert not torch.allclose(model.encoder.encode(batch), before)


def test_experts_in_one_product_are_experts_in_turn() -> None:
    torch.manual_seed(0)
    mixture = MixtureOfExperts(16, 3, 5)
    mixture.bias.data.normal_()
    h, x, c = torch.randn(2, STEPS, 16), torch.randn(2, STEPS, 3), torch.randn(2, 5)
    inputs = torch.cat([h, x, c[:, None].expand(-1, STEPS, -1)], -1)
    share = mixture.gate(inputs).softmax(-1)
    expected = h.clone()
    for i in range(4):
        columns = slice(64 * i, 64 * (i + 1))
        inner = (inputs @ mixture.down.weight[columns].T + mixture.down.bias[columns]).relu()
        expert = inner @ mixture.up.weight[:, columns].T + mixture.bias[i]
        expected = expected + share[..., i : i + 1] * expert
    torch.testing.assert_close(mixture(h, x, c), expected, atol=1e-5, rtol=1e-5)


def test_missing_inputs_count_as_the_mean_and_classes_reach_the_adapter() -> None:
    model = network().eval()
    batch = small_batch()
    assert bool(model(batch).mean.isfinite().all())
    inputs = []
    model.adapter.register_forward_pre_hook(lambda module, args: inputs.append(args[2]))
    codes = torch.tensor([[0, 2], [3, -1], [-1, 0], [1, 1]])
    model(replace(batch, categorical=codes))
    assert inputs[0].shape == (4, len(STATICS) + sum(CLASSES.values()))
    assert inputs[0][:, len(STATICS) :].tolist() == [
        [1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1, 0],
    ]  # fmt: skip


def test_the_residual_decoder_has_its_formula() -> None:
    torch.manual_seed(0)
    decoder = DECODERS["residual_lstm"](16, 3, 5)
    h, x, c = torch.randn(2, STEPS, 16), torch.randn(2, STEPS, 3), torch.randn(2, 5)
    inputs = torch.cat([x, c[:, None].expand(-1, STEPS, -1)], -1)
    z, _ = decoder.lstm(decoder.before(torch.cat([h, inputs], -1)))
    expected = decoder.after(torch.cat([z, inputs], -1)) + z
    torch.testing.assert_close(decoder(h, x, c), expected)
