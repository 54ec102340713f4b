"""``python -m md_runs.cli`` and ``polcalc``: hear signals, then import what a command needs."""

from __future__ import annotations

from importlib import import_module

from md_runs.signals import end_quietly


def main() -> None:
    """Run the command that the shell names."""
    end_quietly()
    import_module("md_runs.cli.app").main()


if __name__ == "__main__":
    main()
