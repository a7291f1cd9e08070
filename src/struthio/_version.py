"""The version, in the one place that packaging and `struthio --version` read."""

__version__ = "0.1.0"
