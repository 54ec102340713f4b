"""What can go wrong in a command, by exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ase.calculators.calculator import CalculatorError
from rich.console import Console

from md_runs.signals import INTERRUPTED, interruptible

errors = Console(stderr=True, highlight=False, soft_wrap=True)


class InputError(Exception):
    """The user can mend it: one line, exit code 2, nothing written."""

    exit_code = 2


class NotConverged(Exception):
    """The work was done and its result is not what was asked for: exit code 1."""

    exit_code = 1


class RunFailed(Exception):
    """A run stopped on the way; its files are readable up to there: exit code 1."""

    exit_code = 1


class RunAlarmed(RunFailed):
    """A guard stopped the run: what came out would be nonsense. Exit code 3."""

    exit_code = 3


@contextmanager
def as_input_error() -> Iterator[None]:
    """Turn what a library says of bad input into an `InputError`.

    Wrap the smallest possible piece of work.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, ImportError, CalculatorError) as error:
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from error


@contextmanager
def clear_endings() -> Iterator[None]:
    """Say what went wrong in one line and end with its exit code; treat a polite kill like Ctrl-C.

    Also a decorator of commands.
    """
    try:
        with interruptible():
            yield
    except (InputError, NotConverged, RunFailed) as error:
        errors.print(f"error: {error}", markup=False)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as error:
        errors.print("interrupted: the files hold everything up to here", markup=False)
        raise SystemExit(INTERRUPTED) from error
