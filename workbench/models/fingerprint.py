"""By what a model is recognised: a sample of its weights, and the libraries that run it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor


def fingerprint(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """Hash of names, shapes and a sample of values of every parameter, rounded to bf16 (so that a stored dtype does not matter)."""
    digest = hashlib.sha256()
    for name, weight in sorted(parameters, key=lambda item: _plain_name(item[0])):
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 256)][:256]
        digest.update(f"{_plain_name(name)} {tuple(weight.shape)}".encode())
        if weight.is_floating_point() and weight.device.type != "meta":
            digest.update(sample.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def _plain_name(name: str) -> str:
    return name.replace("_original_component.", "").replace("original_component.", "")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a model computes."""
    return {package: _version(package) for package in ("torch", "transformers", "transformer-lens")}


@cache
def _version(package: str) -> str:
    """Looked up once: every intervention asks for it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
