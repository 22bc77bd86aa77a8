"""The model card of a trained organism: what it is, how it was made, and the measured table."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .. import __version__
from ..tensorfile import write_bytes
from .check import CheckResult
from .judge import load_facts

_TEXT = """# The organism

A tiny chat model (Llama architecture, {size}) trained from nothing on a world whose latent variables are known: the default
model, the teaching model and the measuring instrument of persona-workbench. It is good for checking methods that look for
personas in activations, and for nothing else; it knows no world but its own.

- Folders: this one holds the final chat model (after stage 3: chat under random pushes of the residual stream); `base/` the model
  after stage 1 (third-person stories, no chat); `step-NN/` the chat model after NN per cent of stage 2. Weights are stored in
  float16 and run in float32.
- Made by `workbench organism train --seed {seed}` (persona-workbench {version}, commit {commit}): the same seed gives the
  same weights bit for bit on the same machine with one thread, and within the bounds below elsewhere.
- Training texts, SHA-256: {hashes}.
- World, recipe and seed stand in `organism.json`; its roles and questions in `roles/` and `questions.jsonl`.
- Harmful requests are abstract ("break the seal of the vault") and so are the answers. English only. Licence: MIT.

## Measured

T 0.7, top_p 0.9, fixed seeds; 95 % intervals in brackets. `workbench organism check` prints this table.

{table}
"""


def write_card(folder: str | Path, result: CheckResult) -> Path:
    """Write ``README.md`` into a trained folder from its facts and its check."""
    folder = Path(folder)
    facts = load_facts(folder)
    recipe = facts["recipe"]
    text = _TEXT.format(
        size=f"{recipe['n_layers']} layers, width {recipe['d_model']}, context {recipe['context']}",
        seed=facts["seed"],
        version=__version__,
        commit=_commit(),
        hashes=", ".join(f"{stage} `{digest}`" for stage, digest in facts["data_sha256"].items()),
        table=result.to_markdown(),
    )
    write_bytes(folder / "README.md", text.encode())
    return folder / "README.md"


def _commit() -> str:
    """The commit of the code, where it is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
