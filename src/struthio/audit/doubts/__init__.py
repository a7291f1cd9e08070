"""What speaks against a robustness number: found before the attack in the model, and after it in what was won."""

from __future__ import annotations

from struthio.audit.doubts.after import from_answers, from_curve, from_radii, from_wins, reconsider
from struthio.audit.doubts.before import examine
from struthio.audit.doubts.kinds import KINDS, Doubt

__all__ = ["KINDS", "Doubt", "examine", "from_answers", "from_curve", "from_radii", "from_wins", "reconsider"]
