"""Commands on reference data."""
