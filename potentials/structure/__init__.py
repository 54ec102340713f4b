"""Structures as tensors: the containers, their pairs, and the geometry that holds for every potential."""
