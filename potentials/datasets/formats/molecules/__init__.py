"""Molecules and crystals in the files of other programs, with what they say of charge and spin."""
