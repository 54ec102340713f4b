"""Potential energy surfaces: minima, modes, paths, electronic states."""
