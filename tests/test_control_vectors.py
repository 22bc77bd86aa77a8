import builtins
import sys

import gguf
import numpy as np
import pytest
import torch
from conftest import make_site

from workbench.control_vectors import export_gguf, read_gguf
from workbench.directions import Direction
from workbench.errors import DataError, WorkbenchError
from workbench.interventions import Ablate, Add, Ceiling, Floor


@pytest.fixture
def axis() -> Direction:
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    return Direction(values, make_site(4, 6), "assistant axis", "default")


def test_what_is_read_is_exactly_what_was_written(axis, tmp_path):
    path, notes = export_gguf(axis, tmp_path / "axis.gguf", strength=-1 / 3)
    found = read_gguf(path)
    assert list(found) == [1, 2, 3]
    assert all(v.dtype == torch.float32 and torch.equal(v, axis.values[n] * (-1 / 3)) for n, v in found.items())
    assert notes == ["Block 0 is left out: a GGUF control vector cannot act there."]


def test_the_file_says_what_llama_cpp_asks_for(axis, tmp_path):
    """Its loader: tensors direction.N with N from 1, float32, one dimension, all of one width."""
    path, _ = export_gguf(axis, tmp_path / "deep" / "axis.gguf", layers=[3, 1], model_hint="qwen3")
    reader = gguf.GGUFReader(path)
    facts = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert facts == {"general.architecture": "controlvector", "controlvector.model_hint": "qwen3", "controlvector.layer_count": 2}
    assert [(t.name, t.tensor_type.name, t.shape.tolist()) for t in reader.tensors] == [
        ("direction.1", "F32", [6]),
        ("direction.3", "F32", [6]),
    ]
    assert np.array_equal(reader.tensors[1].data, axis.values[3].numpy())


def test_the_number_is_the_block_whose_output_is_changed(axis, tmp_path):
    path, _ = export_gguf(axis, tmp_path / "axis.gguf", strength=2)
    h = torch.randn(1, 3, 6)
    for layer, vector in read_gguf(path).items():
        assert torch.allclose(Add(axis, 2.0)(h, layer), h + vector, atol=1e-6)


def test_the_model_is_named_where_no_hint_is_given(axis, tmp_path):
    path, _ = export_gguf(axis, tmp_path / "axis.gguf")
    assert gguf.GGUFReader(path).fields["controlvector.model_hint"].contents() == "toy"


def test_the_same_direction_gives_the_same_bytes(axis, tmp_path):
    first, _ = export_gguf(axis, tmp_path / "a.gguf")
    second, _ = export_gguf(axis, tmp_path / "b.gguf")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gguf", "b.gguf"]


def test_layers_keep_their_numbers(axis, tmp_path):
    path, notes = export_gguf(axis.at([3, 2]), tmp_path / "axis.gguf")
    assert notes == []
    assert torch.equal(read_gguf(path)[2], axis.values[2])
    assert torch.equal(read_gguf(path)[3], axis.values[3])


def test_block_0_is_refused_by_name(axis, tmp_path):
    with pytest.raises(DataError, match="cannot act after block 0"):
        export_gguf(axis, tmp_path / "axis.gguf", layers=[0, 1])
    with pytest.raises(DataError, match="needs a block beyond block 0"):
        export_gguf(axis.at(0), tmp_path / "axis.gguf")
    with pytest.raises(DataError, match="needs a block beyond block 0"):
        export_gguf(axis, tmp_path / "axis.gguf", layers=[])
    with pytest.raises(DataError, match="has no layer 4: it has layers 0 to 3"):
        export_gguf(axis, tmp_path / "axis.gguf", layers=[2, 4])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 1e39])
def test_endless_strengths_are_refused(axis, tmp_path, strength):
    with pytest.raises(DataError, match="not finite"):
        export_gguf(axis, tmp_path / "axis.gguf", strength=strength)


@pytest.mark.parametrize("limit", [Floor, Ceiling])
def test_a_cap_is_refused(axis, tmp_path, limit):
    with pytest.raises(DataError, match="only add; they cannot express a cap"):
        export_gguf(limit(axis, 1.0), tmp_path / "axis.gguf")


def test_other_interventions_are_refused(axis, tmp_path):
    with pytest.raises(DataError, match="hand in the direction of this Ablate"):
        export_gguf(Ablate(axis), tmp_path / "axis.gguf")


def write(path, architecture="controlvector", **tensors):
    writer = gguf.GGUFWriter(path, architecture)
    for name, values in tensors.items():
        writer.add_tensor(name.replace("_", "."), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vector(n=6, dtype=np.float32):
    return np.arange(n).astype(dtype)


def test_files_of_other_programs_are_read(tmp_path):
    write(tmp_path / "v.gguf", direction_10=vector(), direction_2=vector() + 1)
    found = read_gguf(tmp_path / "v.gguf")
    assert list(found) == [2, 10]
    assert torch.equal(found[10], torch.arange(6.0))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"architecture": "llama", "direction_1": vector()}, "not a control vector: its architecture is 'llama'"),
        ({"direction_0": vector()}, r"holds a tensor 'direction\.0'"),
        ({"direction_x": vector()}, r"holds a tensor 'direction\.x'"),
        ({"weight": vector()}, "holds a tensor 'weight'"),
        ({"direction_1": vector(dtype=np.float16)}, r"direction\.1 is F16 of shape \[6\]"),
        ({"direction_1": vector(6).reshape(2, 3)}, r"direction\.1 is F32 of shape \[3, 2\]"),
        ({"direction_1": vector(), "direction_2": vector(5)}, "widths do not agree"),
        ({}, "holds no vectors"),
    ],
)
def test_foreign_files_are_refused(tmp_path, tensors, words):
    write(tmp_path / "v.gguf", **tensors)
    with pytest.raises(DataError, match=words) as caught:
        read_gguf(tmp_path / "v.gguf")
    assert str(tmp_path / "v.gguf") in str(caught.value)


def test_damaged_files_are_refused(axis, tmp_path):
    path, _ = export_gguf(axis, tmp_path / "axis.gguf")
    whole = path.read_bytes()
    for content in (b"", b"hello world", whole[:4], whole[:30], whole[:150], whole[:-12]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as GGUF"):
            read_gguf(path)
    with pytest.raises(DataError, match="does not exist"):
        read_gguf(tmp_path / "nothing.gguf")


def test_without_the_package_the_way_to_it_is_said(axis, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    for act in (lambda: export_gguf(axis, tmp_path / "a.gguf"), lambda: read_gguf(__file__)):
        with pytest.raises(WorkbenchError, match=r'pip install "persona-workbench\[gguf\]"'):
            act()
    assert not list(tmp_path.iterdir())


def test_the_package_is_not_imported_before_it_is_needed(monkeypatch):
    asked = []
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *a, **k: (asked.append(name), real(name, *a, **k))[1])
    monkeypatch.delitem(sys.modules, "workbench.control_vectors")
    import workbench.control_vectors  # noqa: F401

    assert "gguf" not in asked
    assert "tempfile" in asked
