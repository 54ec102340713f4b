"""Searches in flight: each asks for energies and forces of structures, and is told them.

A search is a generator. The questions of all searches under way are answered together: finished
ones leave, new ones enter.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress

from polcalc import PolarizedCalculator

Floats = npt.NDArray[np.float64]
Result = TypeVar("Result")

COMPILED = "native"  # the engine that is as fast one by one: it keeps its pairs from step to step
TOGETHER = 64  # searches at once with the others


class Answer(NamedTuple):
    """What a search is told of a structure, constraints left out."""

    energy_eV: float
    forces: Floats  # (N, 3) eV/Å
    stress: Floats | None  # (6,) eV/Å^3, as ASE orders it; None where it is not defined


Search = Generator[Sequence[Atoms], Sequence[Answer], Result]
Evaluate = Callable[[Sequence[Atoms]], Sequence[Answer]]


class Landed(NamedTuple, Generic[Result]):
    """How a search ended."""

    number: int  # in the order in which they began
    result: Result | None
    problem: Exception | None  # which ended it


class Flight(NamedTuple):
    """How many searches a calculator is asked by at once, and how it answers."""

    width: int
    evaluate: Evaluate


def flight(calculator: PolarizedCalculator) -> Flight:
    """Choose what is faster: structures in one batch, or one search after the other.

    To be asked after the first evaluation, which tells the engine.
    """
    if calculator.engine.name == COMPILED:
        return Flight(1, partial(one_by_one, calculator))
    return Flight(TOGETHER, partial(together, calculator))


def one_by_one(calculator: Any, frames: Sequence[Atoms], stress: bool = False) -> list[Answer]:
    """Ask a calculator of one structure after the other."""
    return [
        Answer(
            float(calculator.get_property("energy", atoms)),
            calculator.get_property("forces", atoms),
            calculator.get_property("stress", atoms) if stress else None,
        )
        for atoms in frames
    ]


def together(calculator: PolarizedCalculator, frames: Sequence[Atoms]) -> list[Answer]:
    """Ask a calculator of structures in batches."""
    return [
        Answer(
            float(said.energy),
            np.asarray(said.forces),
            None if said.stress is None else full_3x3_to_voigt_6_stress(said.stress),
        )
        for said in calculator.evaluate_many(frames)
    ]


def alone(search: Search[Result], evaluate: Evaluate) -> Result:
    """Answer a search to its end."""
    try:
        questions = next(search)
        while True:
            questions = search.send(evaluate(questions))
    except StopIteration as end:
        result: Result = end.value
        return result


def in_flight(
    searches: Iterable[Search[Result]], evaluate: Evaluate, width: int
) -> Iterator[Landed[Result]]:
    """Answer many searches together, and yield them as they end.

    What raises ends its own search; where a batch raises, its structures are tried one by one.

    Parameters
    ----------
    searches : Iterable   taken as there is room
    evaluate : Callable   answers structures of several searches at once
    width : int           searches at once
    """
    waiting = enumerate(searches)
    asked: dict[int, tuple[Search[Result], Sequence[Atoms]]] = {}

    def go_on(
        number: int, search: Search[Result], reply: Sequence[Answer] | Exception | None
    ) -> Iterator[Landed[Result]]:
        try:
            if isinstance(reply, Exception):
                asked[number] = search, search.throw(reply)
            else:
                asked[number] = search, next(search) if reply is None else search.send(reply)
        except StopIteration as end:
            yield Landed(number, end.value, None)
        except Exception as error:  # whatever a library raises costs this search, no other
            yield Landed(number, None, error)

    while True:
        while len(asked) < width and (entering := next(waiting, None)) is not None:
            yield from go_on(*entering, None)
        if not asked:
            return
        replies = list(_answers([frames for _, frames in asked.values()], evaluate))
        before = [(number, search) for number, (search, _) in asked.items()]
        asked.clear()
        for (number, search), reply in zip(before, replies, strict=True):
            yield from go_on(number, search, reply)


def _answers(
    asked: Sequence[Sequence[Atoms]], evaluate: Evaluate
) -> Iterator[Sequence[Answer] | Exception]:
    """Answer the questions of several searches, those of each in one piece."""
    frames = [atoms for some in asked for atoms in some]
    try:
        answers = iter(evaluate(frames) if frames else ())
    except Exception as error:
        if len(asked) == 1:
            yield error
            return
        for some in asked:
            yield from _answers([some], evaluate)
        return
    for some in asked:
        yield list(islice(answers, len(some)))


class Told(Calculator):
    """Repeats an answer to ASE's optimizers, which ask a structure for it."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.answer = answer

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Return what was told last, whatever the structure is now."""
        assert self.answer is not None
        if name in ("energy", "free_energy"):
            return self.answer.energy_eV
        value = getattr(self.answer, name, None)
        if value is None:
            raise PropertyNotImplementedError(name)
        return value.copy()
