"""Attacks by transfer as parts of an audit: what was made for other models is tried on the one that is audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.fitted import adaptive
from struthio.attacks.kept import behind_a_wire
from struthio.attacks.pgd import PGD
from struthio.attacks.stream import out_of_memory
from struthio.attacks.suites import Part, Suite
from struthio.attacks.transfer import MIFGSM, VMIFGSM
from struthio.attacks.via import Via
from struthio.audit.repair.logits import BeforeSoftmax
from struthio.checks import UserError
from struthio.goals import abstains
from struthio.models import LogitEnsemble
from struthio.models.contract import looks_like_probabilities
from struthio.types import Model, Threat

Surrogates = Mapping[str, Model]


class Surrogate(nn.Module):
    """What another model says of the classes. Its own errors are told as such: no row of the audited one falls by them.

    Args:
        name: as reports call it.
        model: any callable from a batch to class scores, in evaluation mode; where it may abstain, that
            column is left out.
    """

    def __init__(self, name: str, model: Model) -> None:
        super().__init__()
        self.name, self.model = name, getattr(model, "original", model)

    def forward(self, x: Tensor) -> Tensor:
        """Its scores, [n, classes]."""
        try:
            outputs: Tensor = self.model(x)
        except Exception as error:
            if isinstance(error, UserError) or out_of_memory(error):
                raise
            raise UserError(f"the surrogate {self.name} failed ({type(error).__name__}: {error}).") from error
        return outputs[:, :-1] if abstains(self.model) else outputs


def named(surrogates: Surrogates | Sequence[Model]) -> dict[str, Model]:
    """Surrogates by their names; those without one are numbered."""
    if isinstance(surrogates, Mapping):
        return dict(surrogates)
    return {f"{type(model).__name__} {number}": model for number, model in enumerate(surrogates, 1)}


def check(surrogates: Surrogates, x: Tensor, classes: int) -> None:
    """Ask each surrogate about a few rows.

    Raises:
        UserError: for one behind a wire, in training mode or without gradient, or of other classes.
    """
    for name, model in surrogates.items():
        if behind_a_wire(model):
            raise UserError(f"the surrogate {name} is behind a wire; to take slopes, a network of your own is needed.")
        checks.mode(model)
        with torch.enable_grad():
            outputs = adaptive(Surrogate(name, model), None)[0](x.detach().requires_grad_())
        checks.outputs(outputs, len(x))
        if not outputs.requires_grad:
            raise UserError(f"no gradient passes the surrogate {name}. A network that has one is needed.")
        if outputs.shape[1] != classes:
            raise UserError(
                f"the surrogate {name} knows {outputs.shape[1]} classes and the model {classes}. An attack is carried "
                "over between models of the same classes in the same order."
            )


def transfer_parts(surrogates: Surrogates, x: Tensor, threat: Threat, level: str) -> Suite:
    """One part for each surrogate, and where there are several one more for the mean of their logits.

    A part costs the audited model one forward a row, the judge's, and is the attack of who cannot ask it. "quick" runs
    MI-FGSM on the surrogate (10 passes), other levels VMI-FGSM (210 passes), and PGD that goes on to the highest loss
    where the threat is neither Linf nor L2. Means of logits: Dong et al., 2018, arXiv 1710.06081. Parts of a surrogate
    that declare a stand-in or randomness are attacked as such (`adaptive`), and logits are taken before a last softmax.

    Args:
        surrogates: by name.
        x: a few rows [n, ...].
        threat: what may change.
        level: of the audit.
    """
    attack = _attack(threat, level)
    sources = {name: _source(name, model, x) for name, model in surrogates.items()}
    if len(sources) > 1:
        sources["all together"] = LogitEnsemble(list(sources.values()))
    return tuple(_part(name, attack, source) for name, source in sources.items())


def _part(name: str, attack: Attack, source: nn.Module) -> Part:
    twin, fit = adaptive(source, attack)
    return Part(f"transfer from {name}", Via(fit, twin))


def _attack(threat: Threat, level: str) -> Attack:
    """One that goes on after the surrogate is won, since it is the other model that counts."""
    if getattr(threat, "norm", None) not in MIFGSM.norms:
        return PGD(20, keep="best")
    return MIFGSM() if level == "quick" else VMIFGSM()


def _source(name: str, model: Model, x: Tensor) -> nn.Module:
    source: nn.Module = Surrogate(name, model)
    with torch.no_grad():
        return BeforeSoftmax(source) if looks_like_probabilities(source(x[:2])) else source
