"""A directory of one piece of work, however often that is killed and taken up again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from md_runs.errors import InputError
from md_runs.records.output import MANIFEST, ending, hold, recorded

SETTLED = ("options", "structures", "model", "dtype")  # of a run that goes on


@contextmanager
def resumable(output: Path, manifest: dict[str, Any], resume: bool) -> Iterator[None]:
    """Claim a new directory, or go on in the one of a run that was asked for the same.

    Raises
    ------
    InputError   nothing to go on with, other options, another run is at work there
    """
    if not resume:
        with recorded(output, manifest), hold(output, "--resume"):
            yield
        return
    _check_resumable(output, manifest)
    with hold(output, "--resume"), ending(output, manifest):
        yield


def _check_resumable(output: Path, manifest: Mapping[str, Any]) -> None:
    wanted = f"a run of polcalc {manifest['command']}"
    try:
        before = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
        command, status = before["command"], before["status"]
        stopped = command == manifest["command"] and status != "finished"
        now = json.loads(json.dumps(manifest))
        changed = [name for name in SETTLED if stopped and before[name] != now[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"`--resume` must find {wanted} in `--output`; got {output} without one. Start"
            " without --resume."
        ) from error
    if not stopped:
        raise InputError(
            f"`--resume` must find {wanted} that has stopped; got {output} with a {status} run of"
            f" polcalc {command}."
        )
    if changed:
        raise InputError(
            f"`--resume` must come with the same structures, model and options; other"
            f" {' and '.join(changed)} now. Repeat the first command line."
        )
