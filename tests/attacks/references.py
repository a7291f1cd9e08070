"""Ten lines a paper: attacks written from their formulas alone, to compare with. None of this package is used.

All work in Linf on pixels in [0, 1] unless they say otherwise; f is a model, y the labels. Points that are only looked
at, ahead or nearby, are clipped to [0, 1] too, which published code forgets: a model is never asked about what is no
picture.
"""

import torch
import torch.nn.functional as F


def slope(f, x, y):
    """The gradient of each row's cross-entropy."""
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(f(x), y, reduction="sum"), x)
    return grad


def clip(z, x, eps):
    return z.clamp(x - eps, x + eps).clamp(0, 1)


def fgsm(f, x, y, eps):
    return (x + eps * slope(f, x, y).sign()).clamp(0, 1)


def bim(f, x, y, eps, alpha, steps):
    z = x
    for _ in range(steps):
        z = clip(z + alpha * slope(f, z, y).sign(), x, eps)
    return z


def pgd(f, x, y, eps, alpha, steps, start):
    z = clip(x + start, x, eps)
    for _ in range(steps):
        z = clip(z + alpha * slope(f, z, y).sign(), x, eps)
    return z


def pgd_l2(f, x, y, eps, alpha, steps):
    """Without limits, from x itself."""
    z = x
    for _ in range(steps):
        g = slope(f, z, y)
        d = z + alpha * g / g.flatten(1).norm(dim=1)[:, None, None, None] - x
        z = x + d * (eps / d.flatten(1).norm(dim=1).clamp(min=eps))[:, None, None, None]
    return z


def unit(g):
    return g / g.abs().sum((1, 2, 3), keepdim=True)


def mi_fgsm(f, x, y, eps, steps, mu, view=slope):
    z, m = x, torch.zeros_like(x)
    for _ in range(steps):
        m = mu * m + unit(view(f, z, y))
        z = clip(z + eps / steps * m.sign(), x, eps)
    return z


def ni_fgsm(f, x, y, eps, steps, mu, view=slope):
    """The paper looks ahead by alpha * mu * g with g of unit mean, as its published code has it."""
    z, m, alpha = x, torch.zeros_like(x), eps / steps
    for _ in range(steps):
        g = view(f, (z + alpha * mu * m).clamp(0, 1), y)
        m = mu * m + g / g.abs().mean((1, 2, 3), keepdim=True)
        z = clip(z + alpha * m.sign(), x, eps)
    return z


def scales(copies):
    """SI: the mean slope over x / 2^i, each with respect to x."""

    def view(f, x, y):
        return sum(slope(lambda z, i=i: f(z / 2**i), x, y) for i in range(copies)) / copies

    return view


def blurred(size, sigma):
    """TI: the slope convolved with a Gaussian."""

    def view(f, x, y):
        t = torch.arange(size).double() - (size - 1) / 2
        k = torch.exp(-(t[:, None] ** 2 + t[None] ** 2) / (2 * sigma**2))
        channels = x.shape[1]
        weight = (k / k.sum()).expand(channels, 1, size, size)
        return F.conv2d(slope(f, x, y), weight, padding=size // 2, groups=channels)

    return view


def vmi_fgsm(f, x, y, eps, steps, mu, noises, beta):
    """noises[t][i] is uniform in [-1, 1]: the i-th of the N neighbours in step t."""
    z, m, v = x, torch.zeros_like(x), torch.zeros_like(x)
    for step in range(steps):
        g = slope(f, z, y)
        m = mu * m + unit(g + v)
        v = sum(slope(f, (z + beta * eps * r).clamp(0, 1), y) for r in noises[step]) / len(noises[step]) - g
        z = clip(z + eps / steps * m.sign(), x, eps)
    return z


def auto_pgd(f, x, y, eps, steps, start, loss, p=float("inf")):
    """Auto-PGD for one row, in Linf or L2, as the paper's algorithm 1 reads; returns the point of highest loss.

    At a checkpoint, counting the k steps since the last: condition 1, the loss rose in at most .75 k of them;
    condition 2, neither the step nor the best loss has changed since the last checkpoint. Either halves the step and
    goes back to the best.
    """

    def look(z):
        z = z.detach().requires_grad_()
        value = loss(f(z), y)
        return value.item(), torch.autograd.grad(value, z)[0]

    def project(z):
        if p == float("inf"):
            return clip(z, x, eps)
        low, high, d = -x, 1 - x, z - x
        scale, ends = 1.0, (0.0, 1.0)
        if (d.clamp(low, high)).norm() > eps:
            for _ in range(200):  # the multiple of d that, clipped, has length eps
                scale = sum(ends) / 2
                ends = (ends[0], scale) if (scale * d).clamp(low, high).norm() > eps else (scale, ends[1])
        return x + (scale * d).clamp(low, high)

    def step(z, g, eta):
        return project(z + eta * (g.sign() if p == float("inf") else g / g.norm()))

    k, shorter, least = max(int(0.22 * steps), 1), max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)
    eta, z, last = 2 * eps, start, start
    value, g = look(z)
    best, best_z, best_g = value, z, g
    best_then, halved, rises, since = best, True, 0, 0
    for i in range(steps):
        ahead = step(z, g, eta)
        z, last = (ahead if i == 0 else project(z + 0.75 * (ahead - z) + 0.25 * (z - last))), z
        before = value
        value, g = look(z)
        rises, since = rises + (value > before), since + 1
        if value > best:
            best, best_z, best_g = value, z, g
        if since == k:
            first, second = rises <= 0.75 * k, not halved and best_then >= best
            halved, best_then, rises, since = first or second, best, 0, 0
            if halved:
                eta, z, g = eta / 2, best_z, best_g
            k = max(k - shorter, least)
    return best_z
