"""Infrared and Raman spectra: intensities of modes and the lines that they make."""
