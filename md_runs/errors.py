"""What can go wrong in a command, by exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ase.calculators.calculator import CalculatorError


class InputError(Exception):
    """The user can mend it: one line, exit code 2, nothing written."""

    exit_code = 2


class NotConverged(Exception):
    """The work was done and its result is not what was asked for: exit code 1."""

    exit_code = 1


class RunFailed(Exception):
    """A run stopped on the way; its files are readable up to there: exit code 1."""

    exit_code = 1


@contextmanager
def as_input_error() -> Iterator[None]:
    """Turn what a library says of bad input into an `InputError`. Wrap the smallest possible piece of work."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, CalculatorError) as error:
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from error
