"""Denoise and verify across layers: every judge looks at what every denoiser made of the input, and they vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.autoencoder import DenoisingAutoencoder
from struthio.defenses.base import Defense, like
from struthio.defenses.ensembles import Average, Ensemble, Vote, most_diverse
from struthio.defenses.training import USUAL, Course, Progress


class Verdict(Defense):
    """Logits of judges [n, judges, classes] to votes, and one more column that wins where too few of them agree.

    The gradient of votes is zero; the stand-in takes mean probabilities for shares of votes.

    Args:
        quorum: the share of all judges that must name the same class, above 0 and at most 1.
    """

    paper: ClassVar[str] = "Chow et al., 2019, arXiv 1908.07667"

    def __init__(self, quorum: float) -> None:
        super().__init__()
        checks.share(quorum, "quorum")
        self.quorum = quorum

    def forward(self, logits: Tensor) -> Tensor:
        """Votes and the column of rejection, [n, classes + 1]."""
        votes = Vote()(logits)
        lead = F.one_hot(logits.argmax(2), logits.shape[2]).sum(1).amax(1)
        return self._with_rejection(votes, lead / logits.shape[1] + 1e-6)

    def stand_in(self, logits: Tensor) -> Tensor:
        """Log mean probabilities and the column of rejection, [n, classes + 1]."""
        average = Average()(logits)
        return self._with_rejection(average, average.exp().amax(1))

    def _with_rejection(self, scores: Tensor, lead: Tensor) -> Tensor:
        return torch.cat((scores, (scores.amax(1) + self.quorum - lead)[:, None]), 1)


class MODEF(Defense):
    """Denoisers, then the model and its verifiers, then a vote (Chow et al., 2019, arXiv 1908.07667).

    A row is repaired where enough judges agree, else rejected. The paper's tables and its quorum were not at hand; that
    a denoiser differs from the next in its noise and its seed, and a quorum as a share of all judges, is our reading.
    Weak parts do not make a strong whole: all of it has one gradient, that of the average (`Vote`, `Verdict`).

    Args:
        model: the network that is to be protected, which is one of the judges.
        denoisers: modules from pictures to pictures; None: three fresh `DenoisingAutoencoder`.
        verifiers: other classifiers of the same classes, best built differently.
        quorum: the share of all judgements that must name the same class; 0 rejects nothing.
        channels: of the pictures, for fresh denoisers.

    Attributes:
        abstains: whether the last class is a rejection, which tells an audit that it is no answer.
    """

    paper: ClassVar[str] = "Chow et al., 2019, arXiv 1908.07667"

    def __init__(
        self,
        model: nn.Module,
        denoisers: Sequence[nn.Module] | None = None,
        verifiers: Sequence[nn.Module] = (),
        quorum: float = 0.0,
        channels: int = 1,
    ) -> None:
        super().__init__()
        if denoisers is not None and not denoisers:
            raise UserError("at least one denoiser is needed.")
        checks.not_negative(quorum, "quorum")
        fresh = denoisers or [like(model, DenoisingAutoencoder(channels)) for _ in range(3)]
        self.denoisers = nn.ModuleList(fresh)
        self.judges = nn.ModuleList([model, *verifiers])
        self.combine: nn.Module = Verdict(quorum) if quorum else Vote()
        self.abstains = quorum > 0
        for part in (self, self.denoisers, self.judges, self.combine):
            part.training = model.training

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model among its verifiers, behind denoisers."""
        return cls(model, *options, **named)

    def forward(self, x: Tensor) -> Tensor:
        """Votes [n, classes], or [n, classes + 1] with a quorum."""
        verdict: Tensor = self.combine(self.judgements(x).flatten(1, 2))
        return verdict

    def judgements(self, x: Tensor) -> Tensor:
        """What each judge says of what each denoiser made, logits [n, denoisers, judges, classes]."""
        cleaned = torch.cat([denoise(x) for denoise in self.denoisers])
        logits = torch.stack([judge(cleaned) for judge in self.judges], 1)
        judgements: Tensor = logits.unflatten(0, (len(self.denoisers), len(x))).transpose(0, 1)
        return judgements

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        x_adv: Tensor | None = None,
        *,
        noises: Sequence[float] = (0.1, 0.2, 0.3),
        course: Course = USUAL,
        progress: Progress | None = None,
    ) -> Self:
        """Train the denoisers, which must be `DenoisingAutoencoder`, and the verifiers; the model stays as it is.

        Args:
            x: clean pictures [n, channels, h, w] in [0, 1].
            y: their classes, int64 [n].
            x_adv: what attacks made of them, row for row, for the denoisers.
            noises: the standard deviation of the noise of each denoiser in turn, begun again when they run out.
            course: how long and how fast each part is trained; part i takes the seed plus i.
            progress: called after each pass of each part with an `Epoch`.

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where a denoiser cannot be trained, or the rows do not fit each other.
        """
        for index, denoiser in enumerate(self.denoisers):
            if not isinstance(denoiser, DenoisingAutoencoder):
                raise UserError(f"a denoiser is a {type(denoiser).__name__}; train it by itself, and leave out fit.")
            own = replace(course, seed=course.seed + index)
            denoiser.fit(x, x_adv, noise=noises[index % len(noises)], course=own, progress=progress)
        if len(self.judges) > 1:
            Ensemble(list(self.judges)[1:]).fit(x, y, course=course, progress=progress)
        return self.eval()

    @torch.no_grad()
    def chosen(self, x: Tensor, size: int) -> MODEF:
        """The same with only the `size` denoisers after which the model's answers to x differ most, by kappa.

        Args:
            x: rows that are hard, such as noisy or adversarial ones, [n, ...].
            size: how many to keep, at least 2.
        """
        answers = self.judgements(x)[:, :, 0].argmax(2)
        kept = [self.denoisers[index] for index in most_diverse(answers.T, size)]
        model, *verifiers = self.judges
        quorum = self.combine.quorum if isinstance(self.combine, Verdict) else 0.0
        return MODEF(model, kept, verifiers, quorum).eval()
