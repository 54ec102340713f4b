"""One calculator, several threads and processes.

* Threads take turns: a question and its answer belong together.
* A pickle holds bytes of its own. The pickler of torch's processes would move the memory of every
  tensor, away from under the arrays that share it, and hand on an open file for each.
* In the child of a fork torch runs on one thread: its others stay behind, and a child that gives
  them work waits for ever. A lock that another thread held would stay closed as well.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

import torch

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Shareable")

_living: WeakSet[Shareable] = WeakSet()


class Shareable:
    """Base of what threads share and processes are sent.

    A subclass calls `begin` before it is used, and marks with `in_turn` what reads or changes its
    state.
    """

    REMADE = frozenset({"_lock"})  # attributes that `begin` makes, left out of a pickle
    OF_TENSORS: frozenset[str] = frozenset()  # attributes that hold tensors

    def begin(self) -> None:
        """Open the lock; a subclass makes again what else `REMADE` names."""
        self._lock = RLock()
        _living.add(self)

    def reset(self) -> None:
        """Forget what was asked last."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Return what shares no memory with this object, whichever pickler takes it."""
        with self._lock:
            return {
                name: _Owned(value) if name in self.OF_TENSORS else value
                for name, value in self.__dict__.items()
                if name not in self.REMADE
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled, and make the rest again."""
        self.__dict__.update(state)
        self.begin()

    def __copy__(self: S) -> S:
        """Copy all of it: two that share their state would not wait for each other."""
        return copy.deepcopy(self)


class _Owned:
    """A value that every pickler sees as bytes."""

    def __init__(self, value: object) -> None:
        self._bytes = pickle.dumps(value)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self._bytes,)


def in_turn(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let one thread at a time run the methods so marked, of each object."""

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return run


def _begin_in_child() -> None:
    torch.set_num_threads(1)
    for shared in list(_living):
        if shared._lock.acquire(blocking=False):
            shared._lock.release()
        else:  # of a thread that is not here; what it was about to do is half done
            shared.begin()
            shared.reset()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_begin_in_child)
