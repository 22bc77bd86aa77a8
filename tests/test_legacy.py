"""The wrapper around a 3.x HookedTransformer, in a process of its own with transformer-lens 3.9 put in front."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LEGACY = Path(__file__).parent.parent / ".tl3"


@pytest.mark.skipif(not (LEGACY / "transformer_lens").exists(), reason="transformer-lens 3.9 is not in .tl3 (make .tl3/ready)")
def test_the_same_wrapper_drives_a_3x_hooked_transformer():
    root = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{root.parent}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(root / "legacy_script.py"), str(LEGACY)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kind"] == "HookedTransformer"
    assert found["layers"] == [3, 32, 128]
    assert found["cache"] == 0.0
    assert found["pooled"] < 1e-5
    assert found["changed"] > 0.01  # a hook reaches the logits ...
    assert found["undone"] == 0.0  # ... and comes off
    assert found["same_text"]
    assert found["tokens"] == [8, 3, 32]
