"""How bad it is: per row, higher suits the attacker."""

from struthio.losses.classification import DLR, CrossEntropy, Divergence, Logit, LogitGap, Margin

BY_NAME = {"ce": CrossEntropy, "margin": Margin, "logit": Logit, "dlr": DLR}  # in recipes, and after -O loss=

__all__ = ["BY_NAME", "DLR", "CrossEntropy", "Divergence", "Logit", "LogitGap", "Margin"]
