"""Workers asked of a queueing system, through dask-jobqueue.

Queue, account, walltime and the like are those of Dask's own configuration
(``~/.config/dask/jobqueue.yaml``); what it leaves open is one core and 4 GB for each job. Jobs that
end, by their walltime or otherwise, are asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from md_runs.errors import InputError

QUEUES = {  # as `--dask` names them -> class of dask-jobqueue
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
DEFAULTS = {"cores": 1, "processes": 1, "memory": "4GB"}


@contextmanager
def queued(queue: str, jobs: int) -> Iterator[Any]:
    """Keep this many jobs in a queue, each of them workers; they end with the block.

    Parameters
    ----------
    queue : str   a name in `QUEUES`
    jobs : int    at once

    Yields
    ------
    a cluster that a client of Dask connects to

    Raises
    ------
    InputError   dask-jobqueue is not installed, its configuration is wrong
    """
    if find_spec("dask_jobqueue") is None:
        raise InputError(
            f"`dask_jobqueue` must be installed for `--dask {queue}`. Run: pip install"
            " 'polcalc[slurm]'."
        )
    config: Any = import_module("dask.config")
    made: Any = getattr(import_module("dask_jobqueue"), QUEUES[queue])
    said = {name: config.get(f"jobqueue.{queue}.{name}", None) for name in DEFAULTS}
    asked = {name: DEFAULTS[name] if value is None else value for name, value in said.items()}
    try:
        cluster = made(**asked, scheduler_options={"dashboard": False})
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise InputError(
            f"`--dask {queue}` must start a cluster of dask-jobqueue; it does not:"
            f" {' '.join(str(error).split()):.300}. Correct its configuration, jobqueue.{queue}."
        ) from error
    with cluster:
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
        yield cluster
