"""organic-open-shells: labels of radicals, radical ions and triplets with our own DFT."""
