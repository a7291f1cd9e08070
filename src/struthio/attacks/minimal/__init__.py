"""Attacks that look for the smallest change, each a page of its paper."""
