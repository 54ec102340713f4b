"""``python -m md_runs.cli`` and ``polcalc``: hear signals, then import what a command needs."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from md_runs.signals import INTERRUPTED, end_quietly


def main() -> None:
    """Run the command that the shell names."""
    end_quietly()
    try:
        import_module("md_runs.cli.app").main()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # nothing is left to write; tidying up takes libraries seconds
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


if __name__ == "__main__":
    main()
