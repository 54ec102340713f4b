"""Commands on dynamics: runs and their analysis."""
