"""Uncertainty and its calibration."""
