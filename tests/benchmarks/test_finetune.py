"""The benchmark of fine-tuning: nothing is tested on what was trained on."""

from __future__ import annotations

from benchmarks.science.finetune import N_TEST, SYSTEMS, curves, labels, table


def test_structures_to_train_and_to_test_on_are_apart_and_in_the_state_that_is_asked():
    train, test = labels(SYSTEMS["CH3OH+"], 30, None)
    assert (len(train), len(test)) == (30, N_TEST)
    assert not set(train.energy.tolist()) & set(test.energy.tolist())
    for frames in (train, test):
        assert set(frames.total_charge.tolist()) == {1.0} and set(frames.multiplicity) == {2}
    more, _ = labels(SYSTEMS["CH3OH+"], 100, None)
    assert more.energy[:30].tolist() == train.energy.tolist()  # more of the same


def test_both_ways_stand_beside_each_other():
    row = {"system": "ethanol", "n": 10, "steps": 1000, "processor_minutes": 1.5}
    rows = [
        row
        | {
            "way": "fine-tuned",
            "before": [9.0, 300.0],
            "after": [8.0, 60.0],
            "old_before": [1.0, 100.0],
            "old_after": [1.0, 120.0],
        },
        row | {"way": "from nothing", "after": [50.0, 400.0]},
    ]
    text = table(rows)
    assert "| ethanol | 10 | fine-tuned | 1,000 | 1.5 | 8.00 | 60.0 | 100, 120 |" in text
    assert "| ethanol | 10 | from nothing | 1,000 | 1.5 | 50.00 | 400.0 | – |" in text
    (axes,) = curves(rows).axes
    assert {line.get_label() for line in axes.lines} == {"fine-tuned", "from nothing", "before"}
