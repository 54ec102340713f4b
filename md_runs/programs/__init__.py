"""Work for other programs: answer their questions, or be driven by them."""
