"""A training that starts from a model.

One of cheap labels, of more molecules, or without a plug-in.

What a network learnt from many labels of a cheap method it need not learn again from few labels of
a dear one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from potentials.architectures.tensornet import Interaction
from potentials.parts.attention import ChargedAttention
from potentials.parts.conditioning import ChargeTable, Electronic, MultiplicityTable
from potentials.parts.electrons import LocalElectrons
from potentials.potential import Potential
from potentials.training.widen import widened

# what starts by adding nothing where a start lacks it
SILENT = (
    ChargeTable | ChargedAttention | Electronic | Interaction | LocalElectrons | MultiplicityTable
)
BY_LAYER = "trunk.factor.strengths"  # whose first dimension counts the layers


def inherited(spec: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a spec leaves open from the model it starts from, its architecture above all.

    Energies of elements and states are left open: they are those of the new data. An uncertainty
    is that of the weights which it was calibrated for.
    """
    terms = [
        {name: value for name, value in term.items() if name != "energies_eV"}
        for term in start.get("terms", ())
        if term.get("name") != "uncertainty"
    ]
    return {**start, "terms": terms, **spec}


def like_start(spec: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """Give the readout of a spec the scale of the model it starts from.

    So weights mean what they meant.
    """
    scales = [
        {"scale": term["scale"]}
        for term in start.get("terms", ())
        if term.get("name") == "readout" and "scale" in term
    ]
    given = scales[0] if scales else {}
    terms = spec.get("terms", [{"name": "readout"}, {"name": "reference_energies"}])
    return {
        **spec,
        "terms": [(given if term.get("name") == "readout" else {}) | dict(term) for term in terms],
    }


@torch.no_grad()
def take_over(potential: Potential, start: Potential) -> list[str]:
    """Copy the weights that both have; return the names of those that only ``potential`` has.

    These stay as they were made, but for what embeds charge and multiplicity, attention, electrons:
    they start at zero, so that every state starts as it was. A TensorNet may have a multiple of
    the channels: it starts as one that predicts the same. It may have more layers: these start by
    shortening tensors alone, as every layer does, and predictions are near what they were.

    Raises
    ------
    ValueError   weights of one name differ in shape, none is shared, or the cutoffs differ: lengths
                 would be encoded otherwise
    """
    if potential.cutoff != start.cutoff:
        raise ValueError(
            f"`start` must be a model of cutoff {potential.cutoff} Å, as [potential]; got"
            f" {start.cutoff} Å. Take its cutoff."
        )
    as_wide = _channels(potential) == _channels(start)
    weights = dict(start.named_parameters()) if as_wide else widened(start, potential)
    theirs = {name: p for name, p in weights.items() if p.numel()}
    ours = {name: p for name, p in potential.named_parameters() if p.numel()}
    shared = ours.keys() & theirs.keys()
    if BY_LAYER in shared and len(ours[BY_LAYER]) > len(theirs[BY_LAYER]):
        added = ours[BY_LAYER][len(theirs[BY_LAYER]) :]
        theirs[BY_LAYER] = torch.cat([theirs[BY_LAYER], added])
    differing = sorted(name for name in shared if ours[name].shape != theirs[name].shape)
    if differing or not shared:
        what = (
            f"{differing[0]} of shape {tuple(theirs[differing[0]].shape)}"
            if differing
            else "nothing in common"
        )
        raise ValueError(
            f"`start` must be a model of the same architecture; got one with {what}. Make"
            " [potential] like its spec."
        )
    for name in shared:
        ours[name].copy_(theirs[name])
    fresh = ours.keys() - shared
    for name, module in potential.named_modules():
        parts = {f"{name}.{part}" for part, _ in module.named_parameters()}
        if isinstance(module, SILENT) and parts <= fresh:
            module.silence()
    return sorted(fresh)


def _channels(potential: Potential) -> int:
    return int(potential.spec["architecture"]["channels"])
