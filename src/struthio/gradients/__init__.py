"""How the slope is found. A part without gradient gets a stand-in around it: `struthio.models.StandIn`."""

from struthio.gradients.autograd import Autograd, NoGradient
from struthio.gradients.averaged import Averaged, Smoothed
from struthio.gradients.estimated import Estimated
from struthio.gradients.views import Diverse, Scaled, Translated

__all__ = ["Autograd", "Averaged", "Diverse", "Estimated", "NoGradient", "Scaled", "Smoothed", "Translated"]
