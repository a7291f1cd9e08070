"""GAT, CMT and InvFGSM: whose gradient goes where, what a pair of heads says, and which way inputs move."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.detectors import Guarded
from struthio.rows import RowGenerator
from struthio.train.cmt import CMT, Pairs, TwoHeads, least_confused
from struthio.train.gat import GAT, fixed
from struthio.train.inv_fgsm import InvFGSM
from struthio.train.recipe import Moment


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3))


def batch(n=6):
    torch.manual_seed(1)
    return 0.2 + 0.6 * torch.rand(n, 1, 8, 8), torch.arange(n) % 3


def moment(step=0):
    return Moment(RowGenerator.seeded(step, torch.arange(6)), 0.0, step)


def test_each_of_gats_networks_follows_its_own_part_of_the_loss():
    x, y = batch()
    recipe = GAT(alpha=0.3, cost=0.2, scale=0.4)
    trained = recipe.prepare(net()).train()
    classifier, generator = trained.classifier, trained.generator
    seen = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(classifier(seen), y), seen)
    change = 0.4 * generator(slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt())
    learns = 0.3 * F.cross_entropy(classifier(x), y) + 0.7 * F.cross_entropy(classifier(x + change.detach()), y)
    true = classifier(x + change).softmax(1)[range(6), y].mean() + 0.2 * change.square().sum((1, 2, 3)).mean()
    wanted = [*torch.autograd.grad(learns, list(classifier.parameters())),
              *torch.autograd.grad(true, list(generator.parameters()))]  # fmt: skip
    loss = recipe(trained, x, y, moment())
    found = torch.autograd.grad(loss, [*classifier.parameters(), *generator.parameters()])
    assert torch.isclose(loss, learns + true, rtol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))


def test_a_fixed_model_answers_as_ever_and_keeps_its_statistics():
    x, _ = batch()
    model = net().train()
    out = fixed(model, x.requires_grad_())
    assert int(model[1].num_batches_tracked) == 0
    assert out.equal(model(x))
    out.sum().backward()
    assert all(value.grad is None for value in model.parameters())


def test_the_generator_learns_to_hurt_the_classifier_more_than_noise_of_its_size():
    x, y = batch()
    recipe = GAT(alpha=0.5, cost=0.01, scale=0.5)
    trained = recipe.prepare(net()).train()
    weights = list(trained.generator.parameters())
    for step in range(15):
        slopes = torch.autograd.grad(recipe(trained, x, y, moment(step)), weights)
        with torch.no_grad():
            for value, slope in zip(weights, slopes, strict=True):
                value.sub_(0.01 * slope.sign())
    seen = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(trained(seen), y), seen)
    with torch.no_grad():
        change = 0.5 * trained.generator(slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt())
        noise = change.square().mean().sqrt() * torch.randn_like(change)
        losses = [float(F.cross_entropy(trained(x + moved), y)) for moved in (0 * change, noise, change)]
    assert losses[2] > losses[1]
    assert losses[2] > losses[0] + 0.5


def test_the_heads_of_cmt_learn_the_labels_and_their_partners():
    x, y = batch()
    recipe = CMT(st.Linf(0.05), partners=(2, 0, 1), weight=0.0)
    heads = recipe.prepare(net().eval())
    adversarial = recipe(heads, x, y, moment()) * 4
    first, second = heads.heads(x)
    assert first.equal(heads.model(x))
    assert second.equal(heads.second(heads.model[:4](x)))
    seen = x.clone().requires_grad_()
    out = heads.model(seen)
    (slope,) = torch.autograd.grad(F.cross_entropy(out, out.argmax(1)), seen)
    wanted = torch.zeros(())
    for part in (x, x + 0.05 * slope.sign()):
        one, other = heads.heads(part)
        wanted = wanted + F.cross_entropy(one, y) + F.cross_entropy(other, torch.tensor([2, 0, 1])[y])
    assert torch.isclose(adversarial, wanted, rtol=1e-5)


def test_the_collaborative_term_is_largest_for_heads_that_move_together():
    x, y = batch()
    recipes = [CMT(st.Linf(0.05), partners=(2, 0, 1), weight=weight) for weight in (0.0, 1.0)]
    heads = recipes[0].prepare(net().eval())
    with torch.no_grad():  # G says of e(y) what F says of y
        heads.second.weight[torch.tensor([2, 0, 1])] = heads.model[4].weight
        heads.second.bias[torch.tensor([2, 0, 1])] = heads.model[4].bias
    terms = [recipe(heads, x, y, moment()).detach() for recipe in recipes]
    assert torch.isclose(terms[1] - terms[0], torch.tensor(1.0), atol=1e-4)


def test_cmt_crafts_on_its_sources_alone_and_on_itself_without_any():
    x, y = batch()
    asked = []

    def source(rows):
        asked.append(len(rows))
        return rows.flatten(1)[:, :3]

    heads = CMT(partners=(2, 0, 1)).prepare(net().eval())
    seen = []
    heads.model[0].register_forward_hook(lambda *_: seen.append(1))
    for sources, forwards in (((), 4), ((source, source), 2)):
        seen.clear()
        CMT(st.Linf(0.05), partners=(2, 0, 1), sources=sources)(heads, x, y, moment())
        assert len(seen) == forwards  # the answers that are led away from, a step, and both parts of the loss
    assert asked == [6, 6]


def test_least_confused_gives_each_class_once_and_the_rarest_answers():
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():  # three directions; the first two are neighbours
        model.weight.copy_(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]))
    x, y = torch.tensor([[0.9, 0.5], [0.9, 0.3], [0.1, 0.2]]), torch.tensor([0, 1, 2])
    found = least_confused(model, x, y, st.Linf(0.3))
    assert sorted(found) == [0, 1, 2]
    assert 2 in found[:2]  # the far one is the partner of a neighbour
    assert all(partner != label for label, partner in enumerate(found))


def test_a_pair_that_does_not_fit_is_flagged():
    heads = TwoHeads(nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False)), (1, 2, 0)).eval()
    with torch.no_grad():
        heads.model[1].weight.copy_(9 * torch.eye(3))
        heads.second.weight.copy_(9 * torch.eye(3))
        heads.second.bias.zero_()
    rows = torch.eye(3)
    pairs = Pairs().fit(heads, rows, torch.arange(3))
    assert bool((pairs.score(rows) > 8).all())  # both heads name the same class, which is never legal
    with torch.no_grad():
        heads.second.weight.copy_(9 * torch.eye(3)[[2, 0, 1]])
    assert bool((pairs.score(rows) < 0.01).all())
    guarded = Guarded(heads, pairs.calibrate(rows.repeat(20, 1), 0.05))
    assert guarded(rows).shape == (3, 4)


def test_inverse_inputs_go_down_the_loss_and_never_out_of_the_limits():
    x, y = batch()
    model = net().eval()
    eps = 0.3
    seen = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(seen), y), seen)
    down, up = ((x + sign * eps * slope.sign()).clamp(0, 1) for sign in (-1, 1))
    losses = [F.cross_entropy(model(part), y) for part in (x, down, up)]
    assert losses[1] < losses[0] < losses[2]
    assert torch.isclose(InvFGSM(st.Linf(eps))(model, x, y, moment()), (losses[0] + losses[1]) / 2)
    assert torch.isclose(InvFGSM(st.Linf(eps), beside="fgsm")(model, x, y, moment()), sum(losses) / 3)


def test_mistakes_are_explained():
    x, y = batch()
    for wrong, said in (
        (lambda: GAT(alpha=1.0), "alpha is 1"),
        (lambda: GAT().prepare(nn.Linear(2, 2)), "no convolution"),
        (lambda: GAT()(net(), x, y), "prepare"),
        (lambda: CMT(partners=(0, 0, 1)), "class 0 is 0"),
        (lambda: CMT(partners=(1, 0, 1, 2)).prepare(net()), "4 partners"),
        (lambda: Pairs().fit(net().eval(), x, y), "prepare"),
        (lambda: InvFGSM(beside="both"), "'clean', 'fgsm'"),
        (lambda: least_confused(net().eval(), x[:2], y[:2], st.Linf(0.1)), "all 3 classes"),
    ):
        with pytest.raises(st.UserError, match=said):
            wrong()
