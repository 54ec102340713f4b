"""Architectures: one paper, one file."""
