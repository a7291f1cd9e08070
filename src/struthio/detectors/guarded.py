"""A model that may abstain: it answers as before, or with one more class where a detector flags the input."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from struthio.detectors.base import Detector


class Guarded(nn.Module):
    """A model behind a detector: outputs [n, classes + 1], where the last column wins exactly in rows that are flagged.

    The last column is the highest logit plus `detector.excess(x)`. Abstaining is thus one more answer, differentiable
    end to end, as Carlini and Wagner, 2017, arXiv 1705.07263, join the two for an attack. Attack it with
    `Evade(Untargeted(labels))`; an audit does so by itself.

    A state dict holds all that was learnt: `Guarded(model, detector).load_state_dict(state)`, with a model of the same
    architecture and a detector made with the same options, not fitted, then judges as the first one did.

    Args:
        model: returns logits [n, classes].
        detector: fitted for the model, and calibrated.

    Attributes:
        abstains: tells an audit that the last class is no answer.
    """

    abstains = True

    def __init__(self, model: nn.Module, detector: Detector) -> None:
        super().__init__()
        self.model, self.detector = model, detector

    def forward(self, x: Tensor) -> Tensor:
        """Logits and the column of abstaining, [n, classes + 1]."""
        heard: list[Tensor] = []

        def listen(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            if inputs and inputs[0] is x:
                heard.append(output)

        handle = self.model.register_forward_hook(listen)
        try:
            excess = self.detector.excess(x)
        finally:
            handle.remove()
        logits = heard[0] if heard else self.model(x)  # a detector that asked the model has paid for the answer
        return torch.cat([logits, (logits.amax(1) + excess)[:, None]], 1)

    def get_extra_state(self) -> Tensor:
        """What the detector's values do not say, as the bytes of a JSON text."""
        return torch.tensor(list(json.dumps(self.detector.about()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Make the detector ready for its values, which come next. Raises UserError where they are another's."""
        self.detector.become(json.loads(bytes(state.tolist())), self.model, "the state dict")
