"""Reference data: known sets, and labels of our own."""
