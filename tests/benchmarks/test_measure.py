"""What every benchmark shares: its options, and processes of their own that answer."""

from __future__ import annotations

import os

import pytest

from benchmarks.measure import OPTIONS, command_line, in_own_process


def environment(name: str) -> str:
    return os.environ[name]


def test_a_process_of_its_own_answers_with_the_threads_asked_for():
    assert in_own_process(environment, {"name": "OMP_NUM_THREADS"}, threads=3) == "3"


def test_the_death_of_a_process_is_told():
    with pytest.raises(RuntimeError, match=r"(?s)status 1.*KeyError: 'NO SUCH'"):
        in_own_process(environment, {"name": "NO SUCH"}, threads=1)


def test_a_benchmark_has_the_options_it_names():
    arguments = vars(command_line("text", "--output", "--device").parse_args([]))
    assert arguments == {"output": None, "device": "cpu"}
    assert set(vars(command_line("", *OPTIONS).parse_args([]))) == {n[2:] for n in OPTIONS}
