"""How bad it is: per row, higher suits the attacker."""

from struthio.losses.classification import DLR, CrossEntropy, Divergence, Logit, LogitGap, Margin

__all__ = ["DLR", "CrossEntropy", "Divergence", "Logit", "LogitGap", "Margin"]
