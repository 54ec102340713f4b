"""What the trunk asks of an architecture, and what an architecture says of itself."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from potentials.structure.geometry import Edges


class Architecture(Protocol):
    """Embedding, layers and read-out of one paper.

    What lies between ``start`` and the read-outs is the architecture's own container, here ``Any``.
    ``vectors`` may be asked for between the layers once ``n_silent`` of them have run, and after
    the last one of an architecture built with `for_vectors`.
    """

    channels: int
    n_layers: int
    n_vectors: int  # V
    n_silent: int  # first layers before which it has no vectors yet
    n_invariants: int  # I
    uses_state_factor: bool  # whether its layers have products to scale
    angular: str  # name of the encoding of angles unless told otherwise; "": it sees none
    for_vectors: dict[str, Any]  # arguments with which vectors are there after the last layer
    layers: nn.ModuleList

    def start(self, scalars: Tensor, edges: Edges) -> Any:
        """Embed points by their scalars (M, C)."""

    def scalars(self, hidden: Any) -> Tensor:
        """Read out scalars (M, C)."""

    def invariants(self, hidden: Any) -> Tensor:
        """Tell what attention and electrons read between the layers (M, I)."""

    def add(self, hidden: Any, scalars: Tensor) -> Any:
        """Add scalars (M, C) to the features of the points."""

    def vectors(self, hidden: Any, edges: Edges, weights: Tensor) -> Tensor:
        """Read out one vector for each point (M, 3), mixed by weights (V,)."""

    def tensors(self, hidden: Any, edges: Edges, weights: Tensor) -> Tensor:
        """Read out a symmetric traceless tensor for each point (M, 3, 3), by weights (V,)."""
