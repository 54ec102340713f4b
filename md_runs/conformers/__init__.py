"""What `polcalc conformers` does: the shapes of one molecule, and how often each occurs."""
