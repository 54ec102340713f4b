"""How far a potential may be believed: posteriors of its read-out, calibrated on new molecules."""
