"""The models that come with the package, and which one is taken when none is named."""

from __future__ import annotations

from pathlib import Path

TRAINED = Path(__file__).parent / "trained"
DEFAULT = "organic"  # the model of those who ask for none


def available() -> list[str]:
    """Names of the shipped models."""
    return sorted(p.parent.name for p in TRAINED.glob("*/model.pt"))


def resolve(model: str | Path) -> Path:
    """Find the file of a model given by path or shipped name.

    Raises
    ------
    FileNotFoundError   neither a file nor a shipped name
    """
    path = Path(model)
    if path.is_file():
        return path
    if str(model) in available():
        return TRAINED / str(model) / "model.pt"
    raise FileNotFoundError(
        f"`model` must be a file or one of {', '.join(available()) or 'no shipped models'}; got"
        f" {str(model)!r}."
    )
