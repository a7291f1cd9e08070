"""A model in training mode, put into the mode in which it will be used."""

from __future__ import annotations

from torch import Tensor, nn

from struthio.audit.doubts.answers import in_training
from struthio.models import with_stand_ins


class StillDropping(nn.Module):
    """A dropout layer that is meant to drop while the model is used.

    Args:
        layer: in training mode; kept out of the list of parts, so that nothing changes its mode.
    """

    random = True

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.hidden = (layer,)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer lets through."""
        out: Tensor = self.hidden[0](x)
        return out


def settled(model: nn.Module) -> tuple[nn.Module, str]:
    """A copy in evaluation mode, and a sentence that says so.

    Where only dropout layers are in training mode, in a model that is not, that is taken for a defence: they go on
    dropping.
    """
    twin = with_stand_ins(model, {})
    names = in_training(twin)
    dropouts = [name for name in names if isinstance(twin.get_submodule(name), nn.modules.dropout._DropoutNd)]
    meant = dropouts if name_by_name(twin, names, dropouts) else []
    for name in meant:
        parent, _, leaf = name.rpartition(".")
        setattr(twin.get_submodule(parent), leaf, StillDropping(twin.get_submodule(name)))
    twin.eval()
    if meant:
        return twin, f"Dropout is on by intention ({', '.join(meant)}) and stays on; all else is in evaluation mode."
    return twin, "A copy in evaluation mode is attacked and judged: call model.eval() before the model is used."


def name_by_name(model: nn.Module, names: list[str], dropouts: list[str]) -> bool:
    """Whether dropout alone was put into training mode, one by one."""
    return not model.training and bool(dropouts) and names == dropouts
