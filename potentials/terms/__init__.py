"""What stands on top of a trunk: energy terms and heads."""
