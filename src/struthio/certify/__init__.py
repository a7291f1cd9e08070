"""What no attack can break: bounds on outputs, Lipschitz constants, randomised smoothing, and properties to prove.

Called as `struthio.certify(...)`, since Python puts this module in the place of a function of the same name.
"""

from struthio.certify.certificate import Certificate, bounds, certify
from struthio.certify.lipschitz import lipschitz_radius
from struthio.certify.smoothing import SmoothCertificate, SmoothedModel
from struthio.rooms import callable_as

__all__ = ["Certificate", "SmoothCertificate", "SmoothedModel", "bounds", "certify", "lipschitz_radius"]


callable_as(__name__, certify)
