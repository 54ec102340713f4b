"""Commands that work for other programs."""
