"""Commands on structures: build, relax, paths, vibrations, states."""
