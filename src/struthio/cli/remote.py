"""A model behind an address, as the options of `struthio attack` describe it."""

from __future__ import annotations

import os
import warnings

from torch import Tensor

from struthio.attacks.registry import attack_class
from struthio.checks import UserError
from struthio.cli import terminal
from struthio.cli.attack import Options
from struthio.data import Samples
from struthio.meter import Ended
from struthio.models import Endpoint, Request, check_contract
from struthio.models.contract import looks_like_probabilities

ROWS, QUESTIONS = 1000, 200  # rows if not said; and inputs that a row of a budget should have
SEES = {"scores": ("scores", "labels"), "probabilities": ("scores", "labels"), "labels": ("labels",)}


def endpoint_of(options: Options, data: Samples) -> Endpoint:
    """The endpoint that the options name. Raises UserError where they do not fit each other, before it is asked."""
    if options.weights is not None:
        raise UserError("--weights are for a --model from code; an --endpoint has its own.")
    access, sees = attack_class(options.attack).access, SEES.get(options.outputs, ("scores", "labels"))
    if options.via is None and access not in sees:
        raise UserError(
            f"{options.attack} needs {access}, but this endpoint shows {options.outputs} alone. Take an attack that "
            f"`struthio list attacks` shows for {' or '.join(sees)}, such as "
            f"--attack {'square' if 'scores' in sees else 'hop-skip-jump'}."
        )
    classes = said_classes(options)
    if classes is None and options.outputs == "labels":
        classes = _classes_of(data)
    return Endpoint(
        options.endpoint or "",
        options.outputs,
        classes=classes,
        budget=options.budget,
        rate=options.rate,
        timeout=options.timeout,
        retries=options.retries,
        batch=options.request_size,
        request=Request(options.field, options.encoding, options.layout, options.each, options.request_size == 1),
        parse=options.answer,
        headers=dict(map(_header, options.header)),
    )


def rows_to_attack(options: Options) -> int:
    """How many rows, at most."""
    if options.count is not None:
        return options.count
    return ROWS if options.budget is None else max(1, options.budget // QUESTIONS)


def agreed_endpoint(endpoint: Endpoint, x: Tensor, labels: Tensor | None) -> Endpoint:
    """The endpoint, after it was asked about x [n, ...] and answered as a model does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said of softmax and gradients is no matter here
            outputs = check_contract(endpoint, x, labels)
    except Ended as ended:
        raise UserError(str(ended)) from ended
    if endpoint.reader.outputs == "scores" and any(looks_like_probabilities(outputs / whole) for whole in (1, 100)):
        terminal.note("the scores look like probabilities; their logarithms are attacked. Say --outputs probabilities.")
        endpoint.reader.outputs = "probabilities"
    return endpoint


def said_classes(options: Options) -> int | tuple[str, ...] | None:
    """How many classes there are, or their names, where --classes says so."""
    if options.classes is None:
        return None
    names = tuple(name.strip() for name in options.classes.split(","))
    if len(names) == 1 and names[0].isdecimal() and int(names[0]) > 1:
        return int(names[0])
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise UserError(f"--classes is {options.classes!r}; a number from 2 on, or different NAME,NAME,... are needed.")
    return names


def _classes_of(data: Samples) -> int | tuple[str, ...]:
    if data.class_names is not None:
        return data.class_names
    if data.y is None:
        raise UserError("an endpoint that answers with labels does not say how many classes there are: --classes N.")
    return max(2, int(data.y.max()) + 1)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UserError(f"--header takes NAME:VALUE, such as 'authorization: Bearer $TOKEN'; {text!r} is not that.")
    return name.strip(), os.path.expandvars(value.strip())
