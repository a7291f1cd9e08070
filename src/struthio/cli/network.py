"""The network that the options name: loaded, put on its device, and asked once whether it keeps the contract."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.combine import Repeat
from struthio.attacks.registry import attack_class
from struthio.attacks.via import Via
from struthio.checks import UserError, one_of, positive
from struthio.cli import terminal
from struthio.cli.attack import Options
from struthio.cli.options import make_attack, put_around
from struthio.losses import Logit
from struthio.models import LogitEnsemble, Logits, check_contract, load
from struthio.models.contract import looks_like_probabilities
from struthio.threats import Levels, threat
from struthio.types import Threat


def load_network(options: Options, spec: str) -> nn.Module:
    """The model of this spec with its defences, on the device asked for. What its code prints goes to stderr."""
    with terminal.quiet_output():
        model = load(spec, weights=options.weights, device=device(options.device))
        return put_around(model, options.defense)


def device(name: str | None) -> torch.device:
    """The device of this name, or the best there is. Raises UserError where it is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        float(torch.zeros(1, device=name))  # a "meta" device has no values to read
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the device {name!r} cannot be used ({reason}). Name cpu or cuda.") from error
    return torch.device(name)


def agreed(model: nn.Module, x: Tensor, labels: Tensor | None = None) -> nn.Module:
    """The model, after it was asked about x [n, ...] and keeps the contract; probabilities are turned into logits."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        outputs = check_contract(model, x, labels)
    if not looks_like_probabilities(outputs):
        for warning in seen:
            terminal.note(str(warning.message))
        return model
    terminal.note(
        "the model's outputs look like probabilities: each row sums to 1. Their logarithms are attacked instead, but "
        "where the model is very sure its softmax hides the gradient: return the scores before the softmax."
    )
    wrapped = Logits(model).eval()
    for name in ("input_size", "class_names"):
        setattr(wrapped, name, getattr(model, name, None))
    return wrapped


def chosen_attack(options: Options, **given: object) -> Attack:
    """The attack that the options name, with `given` as its defaults where it has such options.

    The mean of losses that `--average losses` asks for is that of each model's cross-entropy, which is Logit() of their
    mean log-probabilities.
    """
    one_of(options.average, ("logits", "probabilities", "losses"), "--average")
    if options.average == "losses" and "," in (options.via or ""):
        given = {"loss": Logit(), **given}
    if options.steps is not None:
        positive(options.steps, "--steps")
    if options.restarts is not None:
        positive(options.restarts, "--restarts")
    known = attack_class(options.attack).__dataclass_fields__
    within = {"steps": options.steps, "restarts": options.restarts if "restarts" in known else None}
    texts = [*(f"{name}={value}" for name, value in within.items() if value is not None), *options.option]
    attack = make_attack(options.attack, texts, **{name: value for name, value in given.items() if name in known})
    return attack if options.restarts is None or "restarts" in known else Repeat(attack, options.restarts)


def through(options: Options, attack: Attack, x: Tensor, labels: Tensor | None) -> Attack:
    """The attack, searching on the models of --via where there are any; each is asked about x [n, ...] once."""
    if options.via is None:
        return attack
    plain = replace(options, weights=None, defense=())
    sources = [agreed(load_network(plain, spec.strip()), x, labels) for spec in options.via.split(",")]
    return Via(attack, sources[0] if len(sources) == 1 else LogitEnsemble(sources, average=options.average).eval())


def chosen_threat(spec: str, levels: bool) -> Threat:
    """The threat of this text, on the 256 levels where that is asked for."""
    plain: Any = threat(spec)
    return Levels(plain) if levels else plain
