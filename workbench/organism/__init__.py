"""The embedded model: a tiny chat transformer trained on a world whose latent variables are known."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""Folder of the shipped model."""
