"""The step with fixed tensors, which a CUDA graph replays, against the plain one on the CPU.

The graph itself where there is a GPU.
"""

import shutil

import pytest
import torch

from potentials.potential import at_nodes, at_pairs
from potentials.training.data import StructureSet
from potentials.training.fit import Training
from potentials.training.optimizers import make_optimizer
from potentials.training.step import GraphStep, Step, replayable
from tests.training import toy

pytest.importorskip("lightning", reason="needs Lightning: pip install 'polcalc[train]'")
ADAMW = {"name": "adamw", "learning_rate": 1e-2}


def trained(output, kind, device="cpu"):
    """Train three epochs with a kind of step."""
    output.mkdir()
    training = Training(toy.task(toy.config(optimizer=ADAMW)), output, device=device)
    old = training._step
    training._step = kind(
        old.differentiate, old.structures, old.optimizer, old.average, old.gradient_clip, old.fabric
    )
    training.run()
    return training


def test_fixed_tensors_train_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(GraphStep, "capture", lambda self: None)
    plain = trained(tmp_path / "plain", Step)
    fixed = trained(tmp_path / "fixed", GraphStep)
    assert fixed.progress.step == plain.progress.step == 12
    for a, b in zip(plain.params, fixed.params, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert fixed.progress.history[-1]["train_loss"] == pytest.approx(
        plain.progress.history[-1]["train_loss"], rel=1e-5
    )
    assert (
        fixed.progress.history[-1]["validation_loss"] < fixed.progress.history[0]["validation_loss"]
    )


def test_a_batch_gathered_on_the_device_is_the_batch():
    structures = StructureSet(toy.waters(), 4.0)
    indices = torch.tensor([3, 0, 17, 5])
    assert structures.equal
    for one, other in zip(structures.batch(indices), structures.equal_batch(indices), strict=True):
        for x, y in zip(one, other, strict=True):
            assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    assert not StructureSet(toy.mixture(), 4.0).equal


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(GraphStep, "capture", lambda self: None)
    training = Training(toy.task(toy.config(optimizer=ADAMW)), tmp_path)
    old = training._step
    step = GraphStep(
        old.differentiate, old.structures, old.optimizer, old.average, old.gradient_clip, old.fabric
    )
    step.prepare(4)
    with torch.no_grad():
        training.params[0].fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="`gradient` must be finite"):
        step(torch.arange(4), 1e-3, 1)


def test_where_a_graph_is_possible(tmp_path):
    training = Training(toy.task(toy.config(optimizer=ADAMW)), tmp_path)
    assert not replayable(training.train, training.optimizer, training.fabric)  # no GPU
    training.train.device = torch.device("cuda")
    training.optimizer.param_groups[0]["capturable"] = True
    assert replayable(training.train, training.optimizer, training.fabric)
    soap = make_optimizer(toy.config(optimizer={"name": "soap"}).optimizer, training.params)
    assert not replayable(training.train, soap, training.fabric)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_graph_trains_the_same(tmp_path):
    plain = trained(tmp_path / "cpu", Step)
    graph = trained(tmp_path / "gpu", GraphStep, "cuda")
    for a, b in zip(plain.params, graph.params, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-5)


@pytest.mark.slow  # compilation takes a minute
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("encode", [at_pairs, at_nodes])
def test_a_compiled_step_trains_the_same(tmp_path, monkeypatch, encode):
    monkeypatch.setattr("potentials.training.loss.at_pairs", encode)
    found = []
    for gradients in ("autograd", "compiled"):
        output = tmp_path / gradients
        output.mkdir()
        training = Training(
            toy.task(toy.config(optimizer=ADAMW, training={"gradients": gradients})),
            output,
            device="cpu",
        )
        training.run()
        found.append(training)
    eager, compiled = found
    for a, b in zip(eager.params, compiled.params, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert (
        compiled.progress.history[-1]["validation_loss"]
        < compiled.progress.history[0]["validation_loss"]
    )
