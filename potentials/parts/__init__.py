"""The doors: how distances are encoded, what atoms know of the state, and where they interact."""
