"""Molecular dynamics: integrators, guards, records, restarts."""
