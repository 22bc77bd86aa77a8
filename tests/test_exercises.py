"""The exercises: solutions pass, blanks and typical mistakes are told apart in words, scripts run."""

import re
import sys
import time
from pathlib import Path

import jupytext
import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parent.parent / "notebooks" / "exercises"
sys.path.insert(0, str(FOLDER))

import checks
import solutions
from checks import Wrong, r_squared, ridge
from solutions import assistant_axis, floor_hook, floors, held_out, persona_space

EXERCISES = {
    "1_contrast": ("assistant_axis", checks.check_contrast),
    "2_pca": ("persona_space", checks.check_pca),
    "3_floor": ("floor_hook", checks.check_floor),
    "4_percentile": ("floors", checks.check_percentile),
    "5_folds": ("held_out", checks.check_folds),
}


def cells(name: str) -> list[str]:
    return [cell.source for cell in jupytext.read(FOLDER / f"{name}.py").cells if cell.cell_type == "code"]


def optional(cell: str) -> bool:
    return 'find_spec("workbench")' in cell


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_passes_in_its_script(name, capsys):
    student, check = EXERCISES[name]
    names, solved = {}, 0
    for cell in cells(name):
        if "raise NotImplementedError" in cell:
            names[student] = getattr(solutions, student)
            solved += 1
        elif not optional(cell):
            exec(cell, names)
    assert solved == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Exercise {name[0]} is right: ")
    started = time.process_time()
    check(getattr(solutions, student))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", EXERCISES)
def test_a_blank_says_what_to_fill_in(name):
    student, _ = EXERCISES[name]
    with pytest.raises(Wrong, match=f"fill in {student}: "):
        exec("\n".join(cell for cell in cells(name) if not optional(cell)), {})


def test_the_scripts_and_notebooks_are_all_there():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(EXERCISES) == {path.stem for path in FOLDER.glob("[0-9]*.py")}
    for name in EXERCISES:
        notebook, script = jupytext.read(FOLDER / f"{name}.ipynb"), jupytext.read(FOLDER / f"{name}.py")
        assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in script.cells]
        assert not any(c.get("outputs") or c.get("execution_count") for c in notebook.cells)
        assert f"({name}.ipynb)" in (FOLDER / "README.md").read_text()


def test_the_floor_by_hand_is_the_librarys_on_the_embedded_model(capsys):
    [cell] = [cell for cell in cells("3_floor") if optional(cell)]
    exec(cell, {"floor_hook": floor_hook})
    said = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith(("yours", "library's"))]
    assert said[0][1] == said[1][1]


def test_the_solutions_agree_with_the_library():
    from conftest import make_activations, make_site

    import workbench as wb

    acts, roles = checks._responses()
    theirs = wb.contrast(make_activations(acts, roles))
    torch.testing.assert_close(assistant_axis(acts, roles), theirs.values)

    vectors, names = checks._role_vectors()
    space = wb.PersonaSpace(0).fit(make_activations(vectors[:, None], names))
    components, shares, _ = persona_space(vectors, names, 3)
    np.testing.assert_allclose(components[0].numpy(), space.components_[0], atol=1e-4)
    np.testing.assert_allclose(shares.numpy(), space.explained_variance_ratio_[:3], atol=1e-4)

    axis = wb.Direction(torch.randn(1, 8), make_site(1, 8), "axis", "default")
    resid = torch.randn(2, 3, 8)
    torch.testing.assert_close(floor_hook(resid, None, axis.values[0], 0.3), wb.Floor(axis, 0.3)(resid, 0))


# -- typical mistakes -------------------------------------------------------------------------------
def parts(acts, roles):
    roles = np.array(roles)
    return acts[torch.from_numpy(roles == "default")], acts[torch.from_numpy(roles != "default")]


def turned(acts, roles):
    return -assistant_axis(acts, roles)


def all_role_rows(acts, roles):
    default, others = parts(acts, roles)
    return default.mean(0) - others.mean(0)


def all_role_rows_turned(acts, roles):
    return -all_role_rows(acts, roles)


def all_rows(acts, roles):
    return parts(acts, roles)[0].mean(0) - acts.mean(0)


def default_in_both(acts, roles):
    means = torch.stack([acts[[r == name for r in roles]].mean(0) for name in set(roles)])
    return parts(acts, roles)[0].mean(0) - means.mean(0)


def unit_axis(acts, roles):
    axis = assistant_axis(acts, roles)
    return axis / axis.norm(dim=-1, keepdim=True)


def no_layers(acts, roles):
    return assistant_axis(acts, roles).mean(0)


def nothing_subtracted(acts, roles):
    return parts(acts, roles)[0].mean(0)


def in_place_contrast(acts, roles):
    acts -= acts.mean(0)
    return assistant_axis(acts, roles)


def no_return(*args, **kwargs):
    pass


def pca(fit_default=False, centre_default=False, centre=True, standardise=False, columns=False, sign=True, shares="right", scores="right"):
    """A principal component analysis with one of the usual mistakes in it."""

    def student(vectors, names, n):
        default = names.index("default")
        roles = vectors if fit_default else vectors[[i for i in range(len(names)) if i != default]]
        mean = (vectors if centre_default else roles).mean(0) if centre else torch.zeros(vectors.shape[1])
        fit = roles - mean
        _, s, vh = torch.linalg.svd(fit / fit.std(0) if standardise else fit, full_matrices=False)
        components = (vh.T if columns else vh)[:n]
        projected = (vectors - mean) @ components.T
        if sign:
            turn = torch.where(projected[default] < 0, -1.0, 1.0)
            components = components * turn[:, None]
            projected = projected * (turn if scores != "unturned" else 1)
        part = {"right": s**2 / (s**2).sum(), "plain": s / s.sum(), "cut": s[:n] ** 2 / (s[:n] ** 2).sum(), "other": s / 100}
        found = {"uncentred": vectors @ components.T, "fitted": (fit @ components.T)}.get(scores, projected)
        return components, part.get(shares, s**2)[:n], found

    return student


def transposed(vectors, names, n):
    components, shares, scores = persona_space(vectors, names, n)
    return components.T, shares, scores


def floor(unit=True, push=lambda missing, p: missing.clamp(min=0), sign=1.0, half=True):
    def student(resid, hook, axis, tau):
        v = axis / axis.norm() if unit else axis
        p = (resid.float() if half else resid) @ v
        moved = resid + sign * push(tau - p, p)[..., None] * v
        return moved.to(resid.dtype) if half else moved

    return student


def last_only(resid, hook, axis, tau):
    return torch.cat([resid[:, :-1], floor_hook(resid[:, -1:], hook, axis, tau)], 1)


def prefill_only(resid, hook, axis, tau):
    return floor_hook(resid, hook, axis, tau) if resid.shape[1] > 1 else resid


def squeezed(resid, hook, axis, tau):
    return floor_hook(resid, hook, axis, tau).squeeze(1)


def in_place_floor(resid, hook, axis, tau):
    resid += floor_hook(resid, hook, axis, tau) - resid
    return resid


def float32_out(resid, hook, axis, tau):
    return floor_hook(resid.float(), hook, axis, tau)


def replaced(resid, hook, axis, tau):
    v = axis / axis.norm()
    return torch.where((resid.float() @ v < tau)[..., None], tau * v, resid)


def each_dimension(resid, hook, axis, tau):
    return resid.clamp(min=tau)


def floors_with(**changes):
    def student(projections, is_default, q, cap):
        along = -projections
        return floors(projections, is_default, q, cap) | {k: f(along, is_default, q, cap) for k, f in changes.items()}

    return student


def no_key(projections, is_default, q, cap):
    return {k: v for k, v in floors(projections, is_default, q, cap).items() if k != "weak"}


def quantile(projections, is_default, q, cap):
    return {"percentile": np.quantile(projections, q)}


def folds_by(conversation=True, message=True, diagonal=False, all_but=False, rows=False):
    def student(x, y, conversations, messages, n):
        rng = np.random.default_rng(3)
        a, b = solutions._dealt(conversations, n, rng), solutions._dealt(messages, n, rng)
        if rows:
            a = b = rng.permutation(np.arange(len(y)) % n)
        if not conversation:
            a = b
        if not message:
            b = a
        pairs = [(i, j) for i in range(n) for j in range(n) if i == j or not diagonal]
        tests = [np.flatnonzero((a == i) & (b == j)) for i, j in pairs]
        trains = [np.flatnonzero((a != i) & (b != j)) for i, j in pairs]
        if all_but:
            trains = [np.setdiff1d(np.arange(len(y)), test) for test in tests]
        return held_out(x, y, conversations, messages, n) | {"folds": list(zip(trains, tests, strict=True))}

    return student


def held_out_with(**changes):
    def student(x, y, conversations, messages, n):
        found = held_out(x, y, conversations, messages, n)
        return found | {k: f(x, y, found, conversations) for k, f in changes.items()}

    return student


def by_fold(x, y, found, _):
    return np.mean([r_squared(y[test], found["predicted"][test]) for _, test in found["folds"] if len(test) > 1])


def in_order_of_folds(x, y, found, _):
    return np.concatenate([found["predicted"][test] for _, test in found["folds"]])


def by_conversation(x, y, found, conversations):
    fold, predicted = solutions._dealt(conversations, 5, np.random.default_rng(1)), np.empty(len(y))
    for i in range(5):
        predicted[fold == i] = ridge(x[fold != i], y[fold != i], x[fold == i])
    return r_squared(y, predicted)


MISTAKES = [
    (checks.check_contrast, turned, "points the other way: \\+ must be the default"),
    (checks.check_contrast, all_role_rows, "averaged over all role rows: a role with more responses counts more.*then the roles.$"),
    (checks.check_contrast, all_role_rows_turned, "averaged over all role rows.*And it points the other way"),
    (checks.check_contrast, all_rows, "mean of all rows, the default's among them"),
    (checks.check_contrast, default_in_both, "default is one of the roles that you averaged"),
    (checks.check_contrast, unit_axis, "divided by the length"),
    (checks.check_contrast, no_layers, "shape \\[6\\], not \\[layer, d_model\\] = \\[3, 6\\]. Do not average over layers"),
    (checks.check_contrast, nothing_subtracted, "default alone: nothing was subtracted"),
    (checks.check_contrast, in_place_contrast, "changed the activations that it was given"),
    (checks.check_contrast, no_return, "no_return returns nothing"),
    (checks.check_contrast, lambda acts, roles: acts @ torch.zeros(3), "stopped with RuntimeError"),
    (checks.check_contrast, lambda acts, roles: assistant_axis(acts, roles) + 1, "no mistake that I know. Its cosines"),
    (checks.check_pca, pca(fit_default=True), "default took part in your fit"),
    (checks.check_pca, pca(centre_default=True), "You centred with the default in: the mean of the roles alone"),
    (checks.check_pca, pca(centre=False), "You did not centre"),
    (checks.check_pca, pca(centre=False, fit_default=True), "neither centred nor left the default out"),
    (checks.check_pca, pca(standardise=True), "divided every dimension"),
    (checks.check_pca, pca(columns=True), "took columns"),
    (checks.check_pca, pca(sign=False), "default projects to the minus side"),
    (checks.check_pca, pca(shares="plain"), "singular value \\*squared\\*"),
    (checks.check_pca, pca(shares="cut"), "add up to 1 over the first n"),
    (checks.check_pca, pca(shares="squares"), "are variances .* not shares"),
    (checks.check_pca, pca(shares="other"), "squared singular values over the sum"),
    (checks.check_pca, pca(scores="uncentred"), "scores are not centred"),
    (checks.check_pca, pca(scores="unturned"), "Scores and components disagree in sign"),
    (checks.check_pca, pca(scores="fitted"), "left out of the fit, not of the map"),
    (checks.check_pca, transposed, "The components are the rows of Vh"),
    (checks.check_floor, floor(push=lambda missing, p: missing), "Your hook changes tokens above the threshold"),
    (checks.check_floor, floor(unit=False), "not of unit length"),
    (checks.check_floor, floor(push=lambda missing, p: missing.clamp(max=0)), "that is a ceiling"),
    (checks.check_floor, floor(sign=-1.0), "pushes tokens away"),
    (checks.check_floor, floor(push=lambda missing, p: (missing + p) * (missing > 0)), "adds tau to what is below"),
    (checks.check_floor, floor(push=lambda missing, p: missing + p), "that is steering"),
    (checks.check_floor, floor(push=lambda missing, p: missing.mean(1, keepdim=True).clamp(min=0)), "one projection for the whole text"),
    (checks.check_floor, floor(push=lambda missing, p: 2 * missing.clamp(min=0)), "should land at 0.4 along v"),
    (checks.check_floor, floor(half=False), "in bfloat16: .* Compute in float32"),
    (checks.check_floor, float32_out, "turns bfloat16 into float32"),
    (checks.check_floor, last_only, "the last position only"),
    (checks.check_floor, prefill_only, "does nothing at decode"),
    (checks.check_floor, squeezed, "turns \\[3, 1, 16\\] into \\[3, 16\\] at decode"),
    (checks.check_floor, in_place_floor, "changes its input in place"),
    (checks.check_floor, replaced, "all that it held in other directions is lost"),
    (checks.check_floor, each_dimension, "clamped every dimension by itself"),
    (checks.check_floor, lambda resid, hook, axis, tau: resid, "changes nothing"),
    (checks.check_percentile, floors_with(published=lambda p, d, q, cap: cap), "The threshold's sign was not turned with the dir"),
    (checks.check_percentile, floors_with(published=lambda p, d, q, cap: abs(cap)), "absolute value. The sign is turned, not dropped"),
    (checks.check_percentile, floors_with(published=lambda p, d, q, cap: 32.5), "32.5 \\(q = 10, cap = \\+4\\), and I do not"),
    (checks.check_percentile, floors_with(percentile=lambda p, d, q, cap: q), "percentile was not turned with the direction"),
    (checks.check_percentile, floors_with(recipe=lambda p, d, q, cap: np.percentile(p, q)), "but not the percentile.*far too weak"),
    (checks.check_percentile, floors_with(recipe=lambda p, d, q, cap: np.percentile(-p, q)), "'recipe' .* threshold's sign was not turned"),
    (checks.check_percentile, floors_with(recipe=lambda p, d, q, cap: -cap), "the published number again"),
    (checks.check_percentile, floors_with(own=lambda p, d, q, cap: np.percentile(p, q)), "percentile of the default's alone"),
    (checks.check_percentile, floors_with(own=lambda p, d, q, cap: np.percentile(p[d], 100 - q)), "You turned the percentile as well"),
    (checks.check_percentile, floors_with(own=lambda p, d, q, cap: np.percentile(p[~d], q)), "took the roles instead"),
    (checks.check_percentile, floors_with(own=lambda p, d, q, cap: np.percentile(p[d], q / 100)), "np.percentile a fraction"),
    (checks.check_percentile, floors_with(weak=lambda p, d, q, cap: np.percentile(p, 100 - q)), "that a reader forgot to"),
    (checks.check_percentile, no_key, "'weak' missing"),
    (checks.check_percentile, quantile, "stopped with ValueError.*np.quantile and torch.quantile from 0 to 1"),
    (checks.check_folds, folds_by(rows=True), "rows of one conversation and of one message on both sides.*not to rows"),
    (checks.check_folds, folds_by(message=False), "rows of one message on both sides"),
    (checks.check_folds, folds_by(conversation=False), "rows of one conversation on both sides"),
    (checks.check_folds, folds_by(all_but=True), "and of one message on both sides.*belongs to neither side"),
    (checks.check_folds, folds_by(diagonal=True), "of the rows are ever tested"),
    (checks.check_folds, held_out_with(folds=lambda x, y, f, c: f["folds"][::-1] + f["folds"][:1]), "tested in more than one fold"),
    (checks.check_folds, held_out_with(folds=lambda x, y, f, c: [(np.arange(len(y)),) * 2]), "in training and in the test of the same"),
    (checks.check_folds, held_out_with(folds=lambda x, y, f, c: [(a[::2], b) for a, b in f["folds"]]), "less than a third"),
    (checks.check_folds, held_out_with(predicted=lambda x, y, f, c: ridge(x, y, x)), "by a fit on all rows: that is in sample"),
    (checks.check_folds, held_out_with(predicted=in_order_of_folds), "order of the folds"),
    (checks.check_folds, held_out_with(predicted=lambda x, y, f, c: f["predicted"] + 0.1), "is not what ridge"),
    (checks.check_folds, held_out_with(r2=by_fold), "averaged the R2 of the folds"),
    (checks.check_folds, held_out_with(r2=lambda x, y, f, c: np.corrcoef(y, f["predicted"])[0, 1] ** 2), "squared correlation"),
    (checks.check_folds, held_out_with(r2=lambda x, y, f, c: r_squared(f["predicted"], y)), "exchanged what was measured"),
    (checks.check_folds, held_out_with(naive=lambda x, y, f, c: f["r2"]), "'naive' is the held-out R2 again"),
    (checks.check_folds, held_out_with(naive=lambda x, y, f, c: r_squared(y, ridge(x, y, x))), "'naive' is the R2 in sample"),
    (checks.check_folds, held_out_with(naive=by_conversation), "Did you deal conversations or messages instead of rows"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "student", "message"), MISTAKES, ids=[f"{c.__name__}-{m[:40]}" for c, _, m in MISTAKES])
def test_a_typical_mistake_is_recognised(check, student, message):
    with pytest.raises(Wrong) as caught:
        check(student)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_other_ways_to_be_right_pass():
    rng = np.random.default_rng(9)

    def other_folds(x, y, conversations, messages, n):
        """Other draws, masks instead of row numbers, fewer folds, contiguous naive folds."""
        a, b = solutions._dealt(conversations, 4, rng), solutions._dealt(messages, 6, rng)
        folds = [((a != i) & (b != j), (a == i) & (b == j)) for i in range(4) for j in range(6)]
        naive = [(np.arange(len(y)) % n != i, np.arange(len(y)) % n == i) for i in range(n)]
        predicted = solutions._foretold(x, y, folds)
        return {
            "folds": folds,
            "predicted": predicted,
            "r2": r_squared(y, predicted),
            "naive": r_squared(y, solutions._foretold(x, y, naive)),
        }

    for _ in range(5):
        checks.check_folds(other_folds)
    checks.check_contrast(lambda acts, roles: assistant_axis(acts.double(), roles).numpy())
    checks.check_pca(lambda vectors, names, n: persona_space(vectors.double(), names, n))
    checks.check_floor(floor(push=lambda missing, p: torch.where(missing > 0, missing, 0.0)))

    def in_bfloat16(resid, hook, axis, tau):
        v = (axis / axis.norm()).to(resid.dtype)
        return resid + (tau - resid @ v).clamp(min=0)[..., None] * v

    checks.check_floor(in_bfloat16)
