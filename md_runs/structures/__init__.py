"""Structures themselves: made from a SMILES, their bonds, their symmetry."""
