"""What came out of one or several runs: averages with error bars, spectra, structure."""
