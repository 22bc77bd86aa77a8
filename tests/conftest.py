"""Shared fixtures. Declared shapes are enforced here, and only here: jaxtyping's hook with beartype."""

import os
import shutil
from pathlib import Path

from jaxtyping import install_import_hook

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TENSOR_MODULES = [
    "activations",
    "directions",
    "thresholds",
    "interventions",
    "models.positions",
    "models.extraction",
    "models.hooked",
    "models.chat",
]
with install_import_hook([f"workbench.{name}" for name in TENSOR_MODULES], "typechecker.check"):
    import workbench.activations
    import workbench.directions
    import workbench.models.extraction

# The annotation of Activations.project names a class that its module imports for type checkers only.
workbench.activations.Direction = workbench.directions.Direction

import pandas as pd
import pytest
import torch

from workbench.activations import Activations, Site
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model

torch.set_num_threads(1)

TEST_MODELS = os.environ.get("WORKBENCH_TEST_MODELS", "")


@pytest.fixture(scope="session")
def organism() -> HookedModel:
    return load_model("organism")


@pytest.fixture(scope="session")
def test_models() -> Path:
    """The folder of real checkpoints; tests that need it are skipped where it is absent."""
    if not TEST_MODELS or not Path(TEST_MODELS).is_dir():
        pytest.skip("WORKBENCH_TEST_MODELS is not set")
    return Path(TEST_MODELS)


def make_site(n_layers: int = 2, d_model: int = 8, **changes) -> Site:
    return Site(**{"model": "toy", "weights": "w0", "layers": tuple(range(n_layers)), "d_model": d_model} | changes)


def make_activations(values: torch.Tensor, roles: list[str], **columns) -> Activations:
    """Activations of a toy site, a row a vector."""
    rows = pd.DataFrame({"role": roles, **columns})
    return Activations(values.float(), rows, make_site(values.shape[1], values.shape[2]))


@pytest.fixture
def planted():
    """Role responses with a planted direction: (activations, unit direction, position of each role on it)."""
    generator = torch.Generator().manual_seed(7)
    n_roles, n_each, n_layers, d_model = 24, 12, 2, 64
    direction = torch.nn.functional.normalize(torch.randn(n_layers, d_model, generator=generator), dim=-1)
    position = torch.linspace(-1, 0.6, n_roles)
    names, rows, vectors = [f"role{i:02d}" for i in range(n_roles)], [], []
    base = torch.randn(n_layers, d_model, generator=generator) * 5
    for name, a in [("default", torch.tensor(1.0)), *zip(names, position, strict=True)]:
        offset = torch.randn(n_layers, d_model, generator=generator) * (0.0 if name == "default" else 0.05)
        for i in range(n_each * (4 if name == "default" else 1)):
            noise = 0.3 * torch.randn(n_layers, d_model, generator=generator)
            vectors.append(base + 3 * a * direction + offset + noise)
            rows.append({"role": name, "label": 3, "question_index": i % 6, "prompt_index": i % 2, "row": f"{name}/{i}"})
    acts = Activations(torch.stack(vectors), pd.DataFrame(rows), make_site(n_layers, d_model))
    return acts, direction, dict(zip(names, position.tolist(), strict=True))


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, without its own requests to the network."""
    from playwright.sync_api import sync_playwright

    if (path := shutil.which("chromium")) is None:
        pytest.skip("Debian's chromium is not installed")
    arguments = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()
