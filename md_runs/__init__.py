"""Driver scripts: dynamics, relaxation, validation, and `cli`, the ``polcalc`` command."""
