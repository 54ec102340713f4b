"""The ASE calculator, and what it knows of electrons and of the domain of a model."""
