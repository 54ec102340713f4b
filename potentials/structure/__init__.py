"""Structures as tensors: containers, pairs, and the geometry that holds for every potential."""
