"""``python -m md_runs.cli`` is the ``polcalc`` command."""

from __future__ import annotations

from md_runs.cli.app import main

main()
