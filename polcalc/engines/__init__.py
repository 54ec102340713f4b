"""Engines: ways to evaluate a potential, structures in and named quantities out."""
