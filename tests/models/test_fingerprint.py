"""A model is known again by its structure and by all that its state holds."""

import torch
from torch import nn

from struthio.models import fingerprint


class Packed(nn.Module):
    """Keeps its weights as quantised layers do: in a tuple beside their dtype, which is no tensor."""

    def __init__(self, weight, dtype=torch.float32):
        super().__init__()
        self.held = (dtype, (weight, None))

    def get_extra_state(self):
        return self.held


def test_any_state_tells_models_apart():
    a, b = torch.zeros(3), torch.ones(3)
    models = [Packed(a), Packed(b), Packed(a, torch.float16), nn.Linear(2, 2), nn.Linear(2, 2).bfloat16()]
    assert len({fingerprint.of_model(model) for model in models}) == len(models)
    assert fingerprint.of_model(Packed(a)) == fingerprint.of_model(Packed(a.clone()))
