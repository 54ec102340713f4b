"""What can go wrong in a command, by exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from md_runs.signals import INTERRUPTED, interruptible


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
    except _bad_input() as error:
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from error


def _bad_input() -> tuple[type[Exception], ...]:
    """List what libraries raise of bad input.

    ASE takes long to import, and raises nothing before.
    """
    ase = sys.modules.get("ase.calculators.calculator")
    own = (ValueError, TypeError, KeyError, OSError, ImportError)
    return (*own, ase.CalculatorError) if ase else own


@contextmanager
def whole(option: str, path: object) -> Iterator[None]:
    """Say in one line that a file is not what was written.

    Damaged files make their readers stumble in many ways; wrap reading alone.

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError:
        raise
    except _damage() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"`{option}` must hold whole files; got {path}, which is damaged ({reason:.200})."
            " Take a copy of it, or start anew."
        ) from error


def _damage() -> tuple[type[Exception], ...]:
    """List what readers raise of damaged files; those of modules that are not imported cannot."""
    names = (("zipfile", "BadZipFile"), ("zlib", "error"), ("struct", "error"), ("csv", "Error"))
    further = [getattr(sys.modules[m], name) for m, name in names if m in sys.modules]
    own = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, EOFError)
    return (*own, ArithmeticError, MemoryError, *further)


@contextmanager
def clear_endings() -> Iterator[None]:
    """Say what went wrong in one line and end with its exit code; treat a polite kill like Ctrl-C.

    Also a decorator of commands.
    """
    try:
        with interruptible():
            yield
            sys.stdout.flush()
    except (InputError, NotConverged, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{place}", file=sys.stderr)
        raise SystemExit(InputError.exit_code) from error
    except KeyboardInterrupt as error:
        print("interrupted: the files hold everything up to here", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from error
