"""Files of runs: output folders, manifests, trajectories, figures."""
