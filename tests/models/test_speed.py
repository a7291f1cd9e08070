"""A prepared model says what the model says, and leaves the model alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from struthio.models import Prepared, prepare
from struthio.models.fold import find_pairs, fold_batch_norm


class PaddedConv(nn.Conv2d):
    """A subclass, which graph matching by type passes over."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


class StandardizedConv(nn.Conv2d):
    """Uses another weight than the one it stores, so that folding into the stored one would be wrong."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight / self.weight.std((1, 2, 3), keepdim=True), self.bias)


class Shared(nn.Module):
    """The convolution's output is also used past the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        return (self.norm(out) + out).mean((2, 3))


def trained(model: nn.Module) -> nn.Module:
    """With running statistics and scales that are not the trivial ones."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval()


def net(conv: type[nn.Conv2d] = nn.Conv2d) -> nn.Module:
    torch.manual_seed(0)
    layers = [conv(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8, 3), nn.BatchNorm2d(8)]
    return trained(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))


@pytest.mark.parametrize("conv", [nn.Conv2d, PaddedConv])
def test_folding_is_exact_and_reaches_subclasses(conv: type[nn.Conv2d]) -> None:
    model, x = net(conv), torch.rand(4, 3, 12, 12)
    twin = copy.deepcopy(model)
    assert fold_batch_norm(twin, x) == 2
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    torch.testing.assert_close(twin(x), model(x), atol=1e-5, rtol=0)


def test_a_convolution_that_rewrites_its_weight_is_left_alone() -> None:
    model, x = net(StandardizedConv), torch.rand(2, 3, 12, 12)
    twin = copy.deepcopy(model)
    assert fold_batch_norm(twin, x) == 0
    assert torch.equal(twin(x), model(x))


def test_an_output_used_twice_is_not_folded() -> None:
    assert find_pairs(trained(Shared()), torch.rand(2, 3, 8, 8)) == []


def test_a_layer_that_somebody_watches_is_not_folded() -> None:
    model = net()
    model[0].register_forward_hook(lambda module, args, out: None)
    assert [pair.conv for pair in find_pairs(model, torch.rand(2, 3, 12, 12))] == [model[3]]


def test_the_original_is_bit_identical_afterwards() -> None:
    model, x = net().train(), torch.rand(4, 3, 12, 12)
    model[7].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    state = torch.get_rng_state()
    prepared = prepare(model, x)
    prepared.eval()
    assert prepared.original is model
    assert all(module.training for module in model.modules())
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert any("training mode" in note for note in prepared.notes)


@pytest.mark.parametrize("channels_last", [True, False])
def test_outputs_and_gradients_agree(channels_last: bool) -> None:
    model, x = net(), torch.rand(4, 3, 12, 12, requires_grad=True)
    prepared = prepare(model, x, channels_last=channels_last)
    assert prepared.channels_last is channels_last
    torch.testing.assert_close(prepared(x), model(x), atol=1e-5, rtol=0)
    ours, theirs = (torch.autograd.grad(f(x).logsumexp(1).sum(), x)[0] for f in (prepared, model))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert not any(p.requires_grad for p in prepared.parameters())


def test_what_cannot_be_prepared_is_used_as_given() -> None:
    class Uncopyable(nn.Linear):
        def __deepcopy__(self, memo: object) -> None:
            raise RuntimeError("one of a kind")

    class Random(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.rand_like(x))

    x = torch.rand(2, 3)
    given = (lambda x: x, "not an nn.Module"), (Uncopyable(3, 2), "one of a kind"), (Random(3, 2), "random")
    for model, why in given:
        prepared = prepare(model, x)
        assert prepared.fast is model
        assert why in prepared.notes[-1]
    assert isinstance(prepare(prepared, x), Prepared)


def test_a_compiled_copy_takes_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows leave a batch as they are won; a copy that is compiled anew for each size would cost minutes."""
    graphs: list[torch.fx.GraphModule] = []

    def counted(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: whole(model, backend=counted, **options))
    monkeypatch.setattr("struthio.models.speed.PAYS", 1e9)
    model, x = net(), torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fast = prepare(model, x, compile=True)
    assert any(note.startswith("torch.compile: ") for note in fast.notes)
    for rows in range(11, 1, -1):
        assert torch.allclose(fast(x[:rows]), model(x[:rows]), atol=1e-5)
    assert len(graphs) <= 3
