"""``polcalc analyse``: what came out of one or several runs, as one report."""
