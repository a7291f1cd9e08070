"""Attacks that need no gradient: scores or labels, counted query by query."""
