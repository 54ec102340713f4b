"""The learned part: torch only, ase only where data enters."""
