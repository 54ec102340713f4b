"""What other programs call: one file for each."""
