"""What the tests of recipes share: a moment, a loss with its gradients, and a few steps of training."""

import torch

from struthio.rows import RowGenerator
from struthio.train.recipe import Moment


def moment(n, step=0, done=0.0, kept=None, seed=0):
    """Where training stands, for rows numbered from 0."""
    return Moment(RowGenerator.seeded(seed, torch.arange(n)).fold(step), done, step, {} if kept is None else kept)


def slopes(model, loss):
    """The gradients of a loss for the parameters that are trained."""
    wanted = [value for value in model.parameters() if value.requires_grad]
    return torch.autograd.grad(loss, wanted)


def same(first, second):
    """Whether two lists of tensors are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def train(model, recipe, x, y, epochs, batch=50, lr=1e-3, seed=0):
    """Adam along half a cosine; the model in evaluation mode."""
    torch.manual_seed(seed)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    steps, step, kept = epochs * -(-len(x) // batch) * recipe.replays, 0, {}
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for ids in torch.randperm(len(x)).split(batch):
            for _ in range(recipe.replays):
                optimizer.zero_grad()
                drawn = RowGenerator.seeded(seed, ids).fold(step)
                recipe(model, x[ids], y[ids], Moment(drawn, step / steps, step, kept)).backward()
                optimizer.step()
                schedule.step()
                step += 1
    return model.eval()
