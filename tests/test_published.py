import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from workbench.activations import Activations
from workbench.directions import Direction, contrast
from workbench.errors import DataError, RunError
from workbench.interventions import Ceiling, Floor
from workbench.parts import write_json
from workbench.published import export_published, import_published, load_caps
from workbench.store import Run, create_run, load_activations, open_run, save_activations
from workbench.thresholds import threshold

L, D = 4, 6
ROLES = ["bard", "ghost", "pirate"]
QWEN = {1: -32.5, 2: -64.5}
NAMES = {n: f"layer_{n}/contrast_role_pos3_default1" for n in range(L)}


def vectors(dtype=torch.float32) -> dict[str, torch.Tensor]:
    """A default, roles and traits in which the default stands apart, as in real models."""
    generator = torch.Generator().manual_seed(3)
    made = {n: torch.randn(L, D, generator=generator) for n in ["default", *ROLES, "calm", "stern"]}
    made["default"] = made["default"] + 3
    return {n: v.to(dtype) for n, v in made.items()}


def axis_of(made: dict[str, torch.Tensor]) -> torch.Tensor:
    return made["default"].float() - torch.stack([made[r].float() for r in ROLES]).mean(0)


def capping(axis: torch.Tensor, dtype=torch.float32) -> dict:
    """As published: reversed vectors of all layers, experiments that name some of them, end-exclusive."""
    every = {NAMES[n]: {"vector": (-axis[n]).to(dtype), "layer": n} for n in reversed(range(L))}
    ids = {"layers_1:3-p0.25": QWEN, "layers_0:1-p0.01": {0: -80}}
    return {
        "vectors": every,
        "experiments": [{"id": i, "interventions": [{"vector": NAMES[n], "cap": c} for n, c in caps.items()]} for i, caps in ids.items()],
    }


def save(content, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def publish(folder, dtype=torch.float32, dicts=False, axis=None, caps=None, drop=()):
    """The published layout in `folder`; files named in `drop` are left out."""
    made = vectors(dtype)
    axis = axis_of(made) if axis is None else axis
    raw = {f"role_vectors/{r}.pt": made[r] for r in ROLES} | {f"trait_vectors/{t}.pt": made[t] for t in ("calm", "stern")}
    raw["default_vector.pt"] = made["default"]
    files = {n: {"vector": v, "type": "pos_3", "role": n[13:-3]} if dicts else v for n, v in raw.items()}
    about = {"roles": 3, "window": (1, 3), "note": None}
    files["assistant_axis.pt"] = {"axis": axis.to(dtype), "metadata": about} if dicts else axis.to(dtype)
    files["capping_config.pt"] = capping(axis, dtype) if caps is None else caps
    for name, content in files.items():
        if name not in drop:
            save(content, folder / name)
    return folder


def read(folder) -> dict:
    return {p.relative_to(folder).as_posix(): torch.load(p, weights_only=True) for p in sorted(folder.rglob("*.pt"))}


def same(a, b) -> bool:
    """Equal in every value, type, dtype and order."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(bits), b.view(bits))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def one(notes: list[str], *words: str) -> str:
    found = [n for n in notes if all(w in n for w in words)]
    assert len(found) == 1, (words, notes)
    return found[0]


# -- import ---------------------------------------------------------------------------------------------
def test_what_is_imported_opens_as_a_run(tmp_path):
    made = vectors()
    imported, _ = import_published(publish(tmp_path / "qwen"), tmp_path / "run", "Qwen/Qwen3-32B")
    run = open_run(tmp_path / "run")
    assert run.study == imported.study
    assert run.config == {"model": "Qwen/Qwen3-32B", "imported_from": "qwen"}
    assert torch.equal(run.axis.values, axis_of(made))
    assert (run.axis.name, run.axis.toward) == ("assistant axis", "default (as published)")
    assert (run.axis.site.model, run.axis.site.layers, run.axis.site.hook) == ("Qwen/Qwen3-32B", (0, 1, 2, 3), "resid_post")
    assert list(run.role_vectors.rows["role"]) == ["default", *ROLES]
    assert list(run.role_vectors.rows["label"].unique()) == ["published"]
    assert torch.equal(run.role_vectors.values[2], made["ghost"])
    traits = load_activations(run.folder / "trait_vectors.safetensors", "trait vectors")
    assert list(traits.rows["trait"]) == ["calm", "stern"]
    assert torch.equal(traits.values[1], made["stern"])
    assert run.study["steps"]["import"]["role_vectors"] == 4
    assert len(run.space(layer=2).roles_) == 3


@pytest.mark.parametrize("dicts", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_round_trips_are_exact(tmp_path, dtype, dicts):
    source = publish(tmp_path / "qwen", dtype, dicts)
    run, notes = import_published(source, tmp_path / "run")
    paths, left_out = export_published(run, tmp_path / "qwen-again")
    assert (len(paths), left_out) == (8, [])
    assert same(read(source), read(tmp_path / "qwen-again"))
    again, notes_again = import_published(tmp_path / "qwen-again", tmp_path / "again")
    assert notes_again == notes
    for name in ("axis.safetensors", "role_vectors.safetensors", "trait_vectors.safetensors", "caps/vectors.safetensors"):
        values, again_values = (load_file(r.folder / name)["values"] for r in (run, again))
        assert same(values, again_values)
    assert (again.folder / "caps" / "caps.json").read_bytes() == (run.folder / "caps" / "caps.json").read_bytes()


def test_signed_zeros_and_tiny_numbers_survive(tmp_path):
    values = torch.tensor([[-0.0, 1e-40, 1.0], [2.0, -3e38, 1 / 3]])
    save(values, tmp_path / "in" / "role_vectors" / "ghost.pt")
    run, _ = import_published(tmp_path / "in", tmp_path / "run")
    export_published(run, tmp_path / "out")
    assert same(read(tmp_path / "in"), read(tmp_path / "out"))


def test_an_exported_vector_does_not_carry_all_the_others(tmp_path):
    for i in range(40):
        save(torch.randn(8, 256), tmp_path / "in" / "role_vectors" / f"role{i}.pt")
    run, _ = import_published(tmp_path / "in", tmp_path / "run")
    paths, _ = export_published(run, tmp_path / "out")
    assert max(p.stat().st_size for p in paths) < 2 * 4 * 8 * 256


def test_doubles_are_kept_where_float32_can_and_refused_elsewhere(tmp_path):
    save(torch.full((L, D), 0.25, dtype=torch.float64), tmp_path / "in" / "role_vectors" / "ghost.pt")
    run, _ = import_published(tmp_path / "in", tmp_path / "run")
    export_published(run, tmp_path / "out")
    assert same(read(tmp_path / "in"), read(tmp_path / "out"))
    save(torch.full((L, D), 1 / 3, dtype=torch.float64), tmp_path / "in" / "assistant_axis.pt")
    with pytest.raises(DataError, match=r"assistant_axis\.pt holds torch\.float64 numbers with more digits"):
        import_published(tmp_path / "in", tmp_path / "other")


@pytest.mark.parametrize(
    "kept", ["assistant_axis.pt", "default_vector.pt", "role_vectors/ghost.pt", "trait_vectors/calm.pt", "capping_config.pt"]
)
def test_each_part_is_enough(tmp_path, kept):
    every = read(publish(tmp_path / "all"))
    save(every[kept], tmp_path / "in" / kept)
    run, _ = import_published(tmp_path / "in", tmp_path / "run")
    export_published(run, tmp_path / "out")
    assert same(read(tmp_path / "out"), {kept: every[kept]})


def test_without_an_axis_file_the_contrast_is_computed_and_said(tmp_path):
    run, notes = import_published(publish(tmp_path / "in", drop=["assistant_axis.pt"]), tmp_path / "run")
    one(notes, "There is no assistant_axis.pt", "computed here")
    assert torch.allclose(run.axis.values, axis_of(vectors()), atol=1e-6)
    assert isinstance(load_caps(run)["layers_1:3-p0.25"][0], Floor)
    export_published(run, tmp_path / "out")
    assert not (tmp_path / "out" / "assistant_axis.pt").exists()


def test_roles_alone_make_no_axis(tmp_path):
    run, notes = import_published(publish(tmp_path / "in", drop=["assistant_axis.pt", "default_vector.pt"]), tmp_path / "run")
    one(notes, "the run has no axis")
    with pytest.raises(RunError, match="has no axis yet"):
        _ = run.axis


def test_a_second_import_replaces_the_first(tmp_path):
    import_published(publish(tmp_path / "in"), tmp_path / "run")
    (tmp_path / "in" / "capping_config.pt").unlink()
    (tmp_path / "in" / "role_vectors" / "ghost.pt").unlink()
    run, _ = import_published(tmp_path / "in", tmp_path / "run")
    assert list(run.role_vectors.rows["role"]) == ["default", "bard", "pirate"]
    with pytest.raises(RunError, match="holds no imported caps"):
        load_caps(run)
    (tmp_path / "in" / "assistant_axis.pt").unlink()
    (tmp_path / "in" / "default_vector.pt").unlink()
    assert not import_published(tmp_path / "in", tmp_path / "run")[0].is_done("axis")
    assert not (tmp_path / "run" / "axis.safetensors").exists()


def test_another_run_is_not_overwritten(tmp_path):
    create_run(tmp_path / "run", {"model": "organism"}).record("axis")
    with pytest.raises(RunError, match="other settings"):
        import_published(publish(tmp_path / "in"), tmp_path / "run")


def test_two_defaults_are_refused(tmp_path):
    source = publish(tmp_path / "in")
    save({"vector": vectors()["default"], "type": "mean", "role": "default"}, source / "role_vectors" / "default.pt")
    with pytest.raises(DataError, match=r"default_vector\.pt and .*role_vectors/default\.pt are both the default role"):
        import_published(source, tmp_path / "run")
    (source / "default_vector.pt").unlink()
    run, notes = import_published(source, tmp_path / "run")
    assert list(run.role_vectors.rows["role"]) == ["bard", "default", "ghost", "pirate"]
    one(notes, "points to the default at every layer")
    export_published(run, tmp_path / "out")
    assert same(read(tmp_path / "out"), read(source))


def test_other_files_are_named(tmp_path):
    (publish(tmp_path / "in") / "README.md").write_text("hello")
    _, notes = import_published(tmp_path / "in", tmp_path / "run")
    assert "README.md" in one(notes, "Not part of the layout")


# -- refusals -------------------------------------------------------------------------------------------
class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["assistant_axis.pt", "role_vectors/ghost.pt", "capping_config.pt"])
@pytest.mark.parametrize("how", ["torch", "protocol 2", "protocol 4"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, name, how):
    source = publish(tmp_path / "in")
    content = {"axis": torch.ones(L, D), "vector": torch.ones(L, D), "metadata": Evil(tmp_path / "owned")}
    if how == "torch":
        torch.save(content, source / name)
    else:
        (source / name).write_bytes(pickle.dumps(content["metadata"], protocol=int(how[-1])))
    with pytest.raises(DataError, match=name.replace(".", r"\.")) as caught:
        import_published(source, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert how == "protocol 4" or "other than tensors and plain values (posix.mkdir): it was refused" in str(caught.value)
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "run").exists()
    torch.load(source / name, weights_only=False) if how == "torch" else pickle.loads((source / name).read_bytes())
    assert (tmp_path / "owned").exists()  # the payload works: only the refusal kept it from running


def endless() -> list:
    holds_itself: list = []
    holds_itself.append(holds_itself)
    return holds_itself


NAN = torch.full((L, D), float("nan"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("assistant_axis.pt", b"hello", r"assistant_axis\.pt cannot be read as a file of torch\.save"),
        ("assistant_axis.pt", {"direction": torch.ones(L, D)}, r"assistant_axis\.pt holds a dict of 'direction', where .* 'axis'"),
        ("assistant_axis.pt", endless(), r"assistant_axis\.pt cannot be read as a file of torch\.save \(RecursionError\)"),
        ("assistant_axis.pt", torch.zeros(L, D), r"assistant_axis\.pt is zero at layer 0"),
        ("assistant_axis.pt", {"axis": torch.ones(L, D), "metadata": {"std": torch.ones(2)}}, r"one tensor 'axis' is expected"),
        ("assistant_axis.pt", {"axis": torch.ones(L, D), "metadata": {1: "a"}}, r"assistant_axis\.pt holds a dict that cannot be kept"),
        ("default_vector.pt", NAN, r"default_vector\.pt holds 24 values that are not finite"),
        ("default_vector.pt", torch.full((L, D), float("inf")), r"default_vector\.pt holds 24 values that are not finite"),
        ("default_vector.pt", torch.ones(L, D, dtype=torch.int64), r"default_vector\.pt is no dense tensor .* torch\.int64"),
        ("role_vectors/ghost.pt", torch.ones(L, D + 1), r"role_vectors/ghost\.pt has shape \[4, 7\]; \[4, 6\] is what fits"),
        ("role_vectors/ghost.pt", torch.ones(D), r"role_vectors/ghost\.pt has shape \[6\]"),
        ("role_vectors/ghost.pt", [torch.ones(L, D)], r"role_vectors/ghost\.pt holds a list"),
        ("trait_vectors/calm.pt", torch.ones(L - 1, D), r"trait_vectors/calm\.pt has shape \[3, 6\]"),
        ("trait_vectors/calm.pt", {"vector": 3}, r"trait_vectors/calm\.pt holds a dict of 'vector'"),
        ("capping_config.pt", torch.ones(3), r"capping_config\.pt needs 'vectors' as dict"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, name, content, words):
    source = publish(tmp_path / "in")
    (source / name).write_bytes(content) if isinstance(content, bytes) else save(content, source / name)
    with pytest.raises(DataError, match=words) as caught:
        import_published(source, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def _without(config, *keys):
    at = config
    for key in keys[:-1]:
        at = at[key]
    del at[keys[-1]]


def _with(config, value, *keys):
    at = config
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: _without(c, "experiments"), "needs 'experiments' as list, and has none"),
        (lambda c: _without(c, "vectors", NAMES[1], "layer"), f"vector '{NAMES[1]}' needs 'layer'"),
        (lambda c: _with(c, L, "vectors", NAMES[1], "layer"), "has layer 4, and the model has 4 layers"),
        (lambda c: _with(c, True, "vectors", NAMES[1], "layer"), "needs 'layer' as int, and has a bool"),
        (lambda c: _with(c, torch.ones(D - 1), "vectors", NAMES[1], "vector"), r"has shape \[5\]; \[6\] is what fits"),
        (lambda c: _with(c, torch.zeros(D), "vectors", NAMES[1], "vector"), "is zero"),
        (lambda c: _with(c, {}, "vectors"), "0 tensors for 0 vectors"),
        (lambda c: _with(c, torch.ones(2), "more"), "5 tensors for 4 vectors"),
        (lambda c: _without(c, "experiments", 0, "id"), "experiment 0 needs 'id'"),
        (lambda c: _without(c, "experiments", 0, "interventions", 0, "cap"), r"experiment 0 \(layers_1:3-p0.25\) needs 'cap'"),
        (lambda c: _with(c, float("nan"), "experiments", 0, "interventions", 0, "cap"), "has a cap that is not finite"),
        (lambda c: _with(c, "layer_9", "experiments", 0, "interventions", 0, "vector"), "names the vector 'layer_9', which is not there"),
        (lambda c: _with(c, "layers_1:3-p0.25", "experiments", 1, "id"), "2 experiments of the name 'layers_1:3-p0.25'"),
    ],
)
def test_a_wrong_capping_config_is_refused(tmp_path, change, words):
    config = capping(axis_of(vectors()))
    change(config)
    with pytest.raises(DataError, match=words) as caught:
        import_published(publish(tmp_path / "in", caps=config), tmp_path / "run")
    assert "capping_config.pt" in str(caught.value)


def test_nothing_to_import_is_said(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        import_published(tmp_path / "nowhere", tmp_path / "run")
    (tmp_path / "in" / "role_vectors").mkdir(parents=True)
    with pytest.raises(DataError, match="nothing to import"):
        import_published(tmp_path / "in", tmp_path / "run")


# -- signs ----------------------------------------------------------------------------------------------
def released(h: torch.Tensor, vector: torch.Tensor, cap: float) -> torch.Tensor:
    """The published formula: a ceiling on the unit vector as it is stored."""
    v = vector.float() / vector.float().norm()
    return h - v * (h @ v - cap).clamp(min=0)[..., None]


def test_published_ceilings_are_floors_of_the_opposite_sign(tmp_path):
    run, notes = import_published(publish(tmp_path / "in"), tmp_path / "run")
    caps = load_caps(tmp_path / "run")
    assert list(caps) == ["layers_1:3-p0.25", "layers_0:1-p0.01"]
    [floor] = caps["layers_1:3-p0.25"]
    assert isinstance(floor, Floor)
    assert floor.levels == {1: 32.5, 2: 64.5}
    assert (floor.at_layers, floor.positions) == ((1, 2), "all")
    assert floor.direction.toward == "default (as published)"
    assert floor.direction.cosine(run.axis.at([1, 2])).min() > 0.9999
    said = one(notes, "layers_1:3-p0.25")
    assert "floors along the axis at +32.5 (layer 1), +64.5 (layer 2), published as ceilings at -32.5, -64.5" in said
    assert "Its p0.25 counts along the published vectors: percentile 75 along the axis" in said
    assert "percentile 99 along the axis" in one(notes, "layers_0:1-p0.01")
    assert "-1.0000 to -1.0000" in one(notes, "4 capping vectors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("known", [True, False])
def test_our_limits_do_what_the_released_formula_does(tmp_path, dtype, known):
    """Whatever the sign of the vectors, and whether or not there is an axis to measure it by."""
    axis = axis_of(vectors())
    config = capping(axis * torch.tensor([1.0, 1.0, -1.0, 1.0])[:, None], dtype)
    for item, cap in zip(config["experiments"][0]["interventions"], (-0.4, 0.7), strict=True):
        item["cap"] = cap
    drop = () if known else ("assistant_axis.pt", "default_vector.pt")
    import_published(publish(tmp_path / "in", axis=axis, caps=config, drop=drop), tmp_path / "run")
    limits = load_caps(tmp_path / "run")["layers_1:3-p0.25"]
    assert [type(i) for i in limits] == ([Floor, Ceiling] if known else [Ceiling])
    generator = torch.Generator().manual_seed(0)
    h, moved = torch.randn(2, 50, D, generator=generator), 0
    for layer, cap in ((1, -0.4), (2, 0.7)):
        theirs, ours = released(h, config["vectors"][NAMES[layer]]["vector"], cap), h
        for limit in limits:
            ours = limit(ours, layer) if layer in limit.at_layers else ours
        assert (ours - theirs).abs().max() < 1e-5
        moved += int(((theirs - h).abs().sum(-1) > 1e-3).sum())
    assert 40 < moved < 180


def test_a_floor_with_the_published_sign_would_do_something_else(tmp_path):
    """The trap itself: -32.5 read as a floor along the axis never acts on what the published cap moves."""
    run, _ = import_published(publish(tmp_path / "in"), tmp_path / "run")
    [floor] = load_caps(run)["layers_1:3-p0.25"]
    h = torch.randn(1, 20, D, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Floor(floor.direction, QWEN)(h, 1), h)
    assert (released(h, -run.axis.values[1], -32.5) - h).norm(dim=-1).min() > 20
    assert (floor(h, 1) - released(h, -run.axis.values[1], -32.5)).abs().max() < 1e-5


def test_vectors_along_the_axis_are_genuine_ceilings_and_it_is_said(tmp_path):
    axis = axis_of(vectors())
    run, notes = import_published(publish(tmp_path / "in", caps=capping(-axis)), tmp_path / "run")
    [ceiling] = load_caps(run)["layers_1:3-p0.25"]
    assert isinstance(ceiling, Ceiling)
    assert ceiling.levels == QWEN
    assert NAMES[1] in one(notes, "Not reversed but along the axis")
    said = one(notes, "layers_1:3-p0.25:")
    assert "ceilings along the axis at -32.5 (layer 1), -64.5 (layer 2)." in said
    assert "percentile 25 as it stands" in said


def test_vectors_far_from_the_axis_are_named(tmp_path):
    axis = axis_of(vectors())
    config = capping(axis)
    other = torch.randn(D, generator=torch.Generator().manual_seed(5))
    config["vectors"][NAMES[2]]["vector"] = other
    cosine = torch.nn.functional.cosine_similarity(other, axis[2], dim=0)
    _, notes = import_published(publish(tmp_path / "in", caps=config), tmp_path / "run")
    assert f"{NAMES[2]} ({cosine:+.2f})" in one(notes, "Far from the axis")


def test_several_limits_on_one_layer_keep_their_order(tmp_path):
    axis = axis_of(vectors())
    config = capping(axis)
    config["vectors"]["up"] = {"vector": axis[1].clone(), "layer": 1}
    config["experiments"][0]["interventions"] = [
        {"vector": n, "cap": c} for n, c in (("up", 1.0), (NAMES[1], -2.0), (NAMES[2], -3), ("up", 0.5))
    ]
    run, _ = import_published(publish(tmp_path / "in", caps=config), tmp_path / "run")
    limits = load_caps(run)["layers_1:3-p0.25"]
    assert [(type(i), i.levels) for i in limits] == [(Ceiling, {1: 1.0}), (Floor, {1: 2.0, 2: 3.0}), (Ceiling, {1: 0.5})]
    export_published(run, tmp_path / "out")
    assert same(read(tmp_path / "out")["capping_config.pt"], config)


def test_a_name_that_says_other_layers_and_an_empty_experiment_are_said(tmp_path):
    config = capping(axis_of(vectors()))
    config["experiments"][1] |= {"id": "layers_0:3-p0.5"}
    config["experiments"].append({"id": "baseline", "interventions": []})
    run, notes = import_published(publish(tmp_path / "in", caps=config), tmp_path / "run")
    assert "says layers 0 to 2, which is not what it caps" in one(notes, "layers_0:3-p0.5")
    assert one(notes, "baseline") == "baseline: nothing is capped."
    assert load_caps(run)["baseline"] == []


def test_the_sign_of_the_axis_is_measured(tmp_path):
    _, notes = import_published(publish(tmp_path / "in"), tmp_path / "run")
    assert "points to the default at every layer" in one(notes, "Sign:")
    assert "at least 1.0000" in one(notes, "Cosine of the published axis")


def test_a_reversed_axis_is_said_and_kept(tmp_path):
    axis = axis_of(vectors())
    run, notes = import_published(publish(tmp_path / "in", axis=-axis), tmp_path / "run")
    assert "AWAY from the default at 4 of 4 layers (0, 1, 2, 3)" in one(notes, "Sign:")
    assert torch.equal(run.axis.values, -axis)
    assert run.axis.toward.startswith("away from the default")


def test_a_single_reversed_layer_is_named(tmp_path):
    axis = axis_of(vectors()) * torch.tensor([1.0, 1.0, -1.0, 1.0])[:, None]
    run, notes = import_published(publish(tmp_path / "in", axis=axis), tmp_path / "run")
    assert "at 1 of 4 layers (2)" in one(notes, "Sign:", "AWAY")
    assert run.axis.toward == "default (as published)"


def test_what_cannot_be_checked_is_said(tmp_path):
    _, notes = import_published(publish(tmp_path / "in", drop=["default_vector.pt"]), tmp_path / "run")
    one(notes, "Sign:", "cannot be checked")


def test_caps_need_a_transfer_to_a_named_model(tmp_path):
    import_published(publish(tmp_path / "in"), tmp_path / "run")
    assert load_caps(tmp_path / "run")["layers_1:3-p0.25"][0].transfer
    assert not load_caps(tmp_path / "run", transfer=False)["layers_1:3-p0.25"][0].transfer


# -- export ---------------------------------------------------------------------------------------------
@pytest.fixture
def native(tmp_path, planted) -> Run:
    """A study of ours: vectors and axis, not calibrated."""
    acts: Activations = planted[0]
    means = acts.mean("role")
    run = create_run(tmp_path / "native", {"model": "toy"})
    save_activations(run.folder / "role_vectors.safetensors", means, "role vectors", {})
    contrast(means).save(run.folder / "axis.safetensors")
    run.record("axis")
    return run


def calibrated(run: Run, acts: Activations, **positions: str) -> Run:
    """As the calibration step leaves it: a cap for each name, at the positions given."""
    at = threshold(run.axis, acts, 75).to_dict()
    choices = [{"name": n.replace("_", " "), "setting": {"layers": [0, 1], "positions": p}, "threshold": at} for n, p in positions.items()]
    write_json(run.folder / "calibration" / "choices.json", {"choices": choices})
    run.record("calibrate")
    return run


def test_a_study_is_exported_and_read_back(tmp_path, native, planted):
    paths, notes = export_published(native, tmp_path / "out")
    assert notes == [f"capping_config.pt is left out: {native.folder} has no calibrated caps."]
    assert len(paths) == 1 + 1 + 24
    again, said = import_published(tmp_path / "out", tmp_path / "again")
    assert torch.equal(again.axis.values, native.axis.values)
    assert torch.equal(again.role_vectors.values, native.role_vectors.values)
    assert list(again.role_vectors.rows["role"]) == list(native.role_vectors.rows["role"])
    one(said, "points to the default at every layer")


def test_calibrated_caps_are_published_with_the_sign_turned(tmp_path, native, planted):
    acts = planted[0]
    run = calibrated(native, acts, recommended="all", spares_roles="all")
    _, notes = export_published(run, tmp_path / "out")
    assert notes == []
    config = read(tmp_path / "out")["capping_config.pt"]
    assert [e["id"] for e in config["experiments"]] == ["layers_0:2-recommended", "layers_0:2-spares roles"]
    assert list(config["vectors"]) == [NAMES[0], NAMES[1]]
    known = run.caps["recommended"]
    assert config["experiments"][0]["interventions"][1] == {"vector": NAMES[1], "cap": -known.levels[1]}
    h = torch.randn(1, 30, run.axis.site.d_model) * 10
    theirs = released(h, config["vectors"][NAMES[1]]["vector"], -known.levels[1])
    assert (theirs - known(h, 1)).abs().max() < 1e-5
    assert not torch.equal(theirs, h)
    again, _ = import_published(tmp_path / "out", tmp_path / "again")
    [floor] = load_caps(again)["layers_0:2-recommended"]
    assert isinstance(floor, Floor)
    assert floor.levels == known.levels


def test_caps_at_other_positions_are_left_out_or_refused(tmp_path, native, planted):
    run = calibrated(native, planted[0], recommended="all", spares_roles="generated")
    _, notes = export_published(run, tmp_path / "out")
    one(notes, "'spares roles' acts at generated positions", "left out")
    assert len(read(tmp_path / "out")["capping_config.pt"]["experiments"]) == 1
    with pytest.raises(RunError, match="none of the caps spares roles can be written"):
        export_published(run, tmp_path / "other", caps=["spares roles"])
    assert not (tmp_path / "other").exists()
    only = calibrated(native, planted[0], recommended="generated")
    _, notes = export_published(only, tmp_path / "third")
    one(notes, "no cap remains")
    assert "capping_config.pt" not in read(tmp_path / "third")


def test_caps_are_chosen_by_name(tmp_path, native, planted):
    with pytest.raises(RunError, match="has no calibrate yet"):
        export_published(native, tmp_path / "out", caps=["recommended"])
    run = calibrated(native, planted[0], recommended="all", spares_roles="all")
    with pytest.raises(RunError, match="no cap 'strict' to export; there are recommended, spares roles"):
        export_published(run, tmp_path / "out", caps=["strict"])
    export_published(run, tmp_path / "out", caps=["spares roles"])
    assert [e["id"] for e in read(tmp_path / "out")["capping_config.pt"]["experiments"]] == ["layers_0:2-spares roles"]
    imported, _ = import_published(publish(tmp_path / "in"), tmp_path / "run")
    export_published(imported, tmp_path / "one", caps=["layers_0:1-p0.01"])
    assert [e["id"] for e in read(tmp_path / "one")["capping_config.pt"]["experiments"]] == ["layers_0:1-p0.01"]
    bare, _ = import_published(publish(tmp_path / "bare", drop=["capping_config.pt"]), tmp_path / "bare run")
    with pytest.raises(RunError, match="holds no imported caps"):
        export_published(bare, tmp_path / "two", caps=["layers_0:1-p0.01"])


def test_a_study_without_a_worthy_cap_says_so(tmp_path, native, planted):
    _, notes = export_published(calibrated(native, planted[0]), tmp_path / "out")
    one(notes, "capping_config.pt is left out", "no cap worth recommending")


def test_layers_that_do_not_start_at_zero_are_refused(tmp_path, native):
    axis, vectors = native.axis, native.role_vectors
    save_activations(native.folder / "role_vectors.safetensors", vectors.at([1]), "role vectors", {})
    axis.at([1]).save(native.folder / "axis.safetensors")
    with pytest.raises(RunError, match="read layers 1 only"):
        export_published(native, tmp_path / "out")


def test_no_file_is_written_outside_or_over_others(tmp_path, native):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(RunError, match="is not an empty folder"):
        export_published(native, tmp_path / "full")
    means = native.role_vectors
    rows = means.rows.assign(role=["default", "../../evil", *means.rows["role"][2:]])
    save_activations(native.folder / "role_vectors.safetensors", Activations(means.values, rows, means.site), "role vectors", {})
    with pytest.raises(RunError, match="must serve as a file's"):
        export_published(native, tmp_path / "out")
    run, _ = import_published(publish(tmp_path / "in"), tmp_path / "run")
    forged = [{"path": "../evil.pt", "row": 0, "form": {"$tensor": "float32"}}]
    Direction(run.axis.values, run.axis.site, "a", "b", {"published": forged}).save(run.folder / "axis.safetensors")
    with pytest.raises(RunError, match="outside"):
        export_published(run, tmp_path / "out")
    assert not (tmp_path / "evil.pt").exists()
