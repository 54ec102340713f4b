"""What spoils labelled structures."""
