"""How far models may be believed."""
