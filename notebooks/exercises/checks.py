"""Checks for the exercises: each runs your function on small made-up data and says what is wrong with it, and why it may be.

Only numpy and torch are needed. The answers are computed in here, so read this file after you have tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Wrong(AssertionError):
    """What is wrong with an answer, in words."""


def check_contrast(student: Callable) -> None:
    """Exercise 1: ``student(acts [row, layer, d_model], roles [row]) -> [layer, d_model]``."""
    acts, roles = _responses()
    given = acts.clone()
    found = _tensor(_call(student, acts, list(roles)), "the axis")
    if not torch.equal(acts, given):
        raise Wrong("Your function changed the activations that it was given: make new tensors, without += and the like.")
    if found.shape != acts.shape[1:]:
        hints = {
            acts.shape[2:]: " Do not average over layers: each layer has an axis of its own.",
            acts.shape: " One vector a layer, not one a row: rows are averaged away.",
        }
        raise Wrong(f"The axis has the shape {_shape(found)}, not [layer, d_model] = {_shape(acts[0])}.{hints.get(found.shape, '')}")

    default = torch.tensor([role == "default" for role in roles])
    names = sorted(set(roles) - {"default"})
    means = torch.stack([acts[[role == name for role in roles]].mean(0) for name in names])
    plus, minus = acts[default].mean(0), means.mean(0)
    right = plus - minus
    if _close(found, right):
        return _praise("1", "the axis runs from the mean of the roles to the default, and every role counts once.")
    if _close(found, -right):
        raise Wrong("Your vector points the other way: + must be the default, so the roles are what is subtracted.")
    mistakes = {
        "You averaged over all role rows: a role with more responses counts more. Average each role first, then the roles.": plus
        - acts[~default].mean(0),
        "You subtracted the mean of all rows, the default's among them: part of the default is taken away from itself.": plus
        - acts.mean(0),
        "The default is one of the roles that you averaged and subtracted: the direction is right, but the vector is too short. "
        "Leave the default out of the other end.": right * len(names) / (len(names) + 1),
        "You divided by the length: the exercise wants the difference of the two means as it is. Make it a unit vector when you "
        "project.": right / right.norm(dim=-1, keepdim=True),
        "You divided all layers by one length: the exercise wants the difference of the two means as it is.": right / right.norm(),
        "That is the mean of the default alone: nothing was subtracted.": plus,
        "That is the mean of the roles alone: the default is missing.": minus,
    }
    for message, value in mistakes.items():
        for sign in (1, -1):
            if _close(found, sign * value):
                raise Wrong(message + (" And it points the other way: + must be the default." if sign < 0 else ""))
    cosines = torch.nn.functional.cosine_similarity(found, right, dim=-1)
    raise Wrong(f"This is not the axis, and no mistake that I know. Its cosines with the right one, layer by layer: {_numbers(cosines)}.")


def check_pca(student: Callable) -> None:
    """Exercise 2: ``student(vectors [role, d_model], names [role], n)`` -> components [n, d_model], shares [n], scores [role, n]."""
    vectors, names = _role_vectors()
    n, at = 3, names.index("default")
    _one_pca(student, vectors, names, n)
    mirrored = vectors.clone()  # the same fit, and the default on the other side of every component
    mirrored[at] = 2 * vectors[[i for i in range(len(names)) if i != at]].mean(0) - vectors[at]
    _one_pca(student, mirrored, names, n)
    _praise("2", "the default took no part in the fit, and yet says which way is up.")


def check_floor(student: Callable) -> None:
    """Exercise 3: ``student(resid [batch, pos, d_model], hook, axis [d_model], tau)`` -> the changed resid."""
    generator = torch.Generator().manual_seed(3)
    axis = torch.randn(16, generator=generator)
    axis *= 2.5 / axis.norm()  # a contrast vector comes in any length
    tau = 0.4
    for when, batch, pos in (("prefill", 3, 6), ("decode", 3, 1), ("decode", 1, 1)):
        resid = 1.5 * torch.randn(batch, pos, 16, generator=generator)
        if pos == 1:
            resid = _all_below(resid, axis, tau)
        _one_floor(student, resid, axis, tau, f"at {when}, [batch, pos, d_model] = {_shape(resid)}")
    resid = 1.5 * torch.randn(2, 4, 16, generator=generator)
    once = _call(student, resid, hook=None, axis=axis, tau=tau)
    if not _close(_call(student, once, hook=None, axis=axis, tau=tau), once):
        raise Wrong("Applied twice, your hook does more than applied once. After the first time nothing is below the threshold.")
    try:
        half = _call(student, resid.bfloat16(), hook=None, axis=axis, tau=tau)
    except Wrong as error:
        raise Wrong(
            f"With a model in bfloat16: {error} Compute in float32 (resid.float()) and go back to resid.dtype at the end."
        ) from error
    if half.dtype != torch.bfloat16:
        raise Wrong(f"Your hook turns bfloat16 into {_dtype(half)}: the next block expects its own dtype. Go back with .to(resid.dtype).")
    if not _close(half.float(), once, 0.1):
        raise Wrong("In bfloat16 your hook gives something else than in float32. Compute in float32, and go back at the end.")
    _praise("3", "what lies below is lifted to the threshold, what lies above is left alone, at prefill and at decode.")


def check_percentile(student: Callable) -> None:
    """Exercise 4: ``student(projections [row], is_default [row], q, cap)`` -> dict of five numbers."""
    projections, is_default = _reversed_projections()
    _one_percentile(student, projections, is_default, 25.0, -32.5)
    _one_percentile(student, projections, is_default, 10.0, 4.0)
    found = _call(student, projections.copy(), is_default.copy(), 25.0, -32.5)
    moved = {k: [np.mean(-projections[who] < found[k]) for who in (is_default, ~is_default)] for k in ("recipe", "own", "weak")}
    shares = "; ".join(f"{name} {a:.0%} and {b:.0%}" for name, (a, b) in moved.items())
    _praise("4", f"answers of the default and of roles that each floor moves here: {shares}.")


def check_folds(student: Callable) -> None:
    """Exercise 5: ``student(x [row, dim], y [row], conversations [row], messages [row], n)`` -> dict."""
    x, y, conversations, messages = _talks()
    found = _call(student, x.copy(), y.copy(), conversations.copy(), messages.copy(), 5)
    _keys(found, ("folds", "predicted", "r2", "naive"))
    folds = _check_sides(found["folds"], conversations, messages)
    predicted = _check_predicted(found["predicted"], folds, x, y)
    _check_r2(found["r2"], predicted, folds, x, y)
    _check_naive(found["naive"], found["r2"], x, y, conversations)
    _praise(
        "5", f"held out, the messages foretell {found['r2']:.0%} of the variance; a naive KFold would have claimed {found['naive']:.0%}."
    )


# -- given in exercise 5 ----------------------------------------------------------------------------
def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, alpha: float = 10.0) -> np.ndarray:
    """Fit a ridge on `x` [row, dim] and `y` [row]; what it foretells of `new` [other row, dim], as [other row]."""
    centre, mean = x.mean(0), y.mean()
    inside = (x - centre).T @ (x - centre) + alpha * np.eye(x.shape[1])
    return mean + (new - centre) @ np.linalg.solve(inside, (x - centre).T @ (y - mean))


def r_squared(y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance of `y` about its mean that is foretold; negative where the mean alone would do better."""
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


# -- exercise 1 -------------------------------------------------------------------------------------
def _responses() -> tuple[Tensor, list[str]]:
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    counts = {"default": 20, "pirate": 2, "ghost": 24, "librarian": 5, "smith": 9}
    roles = list(rng.permutation(np.repeat(list(counts), list(counts.values()))))
    place = {name: 3 * torch.randn(3, 6, generator=generator) for name in counts}
    return torch.stack([place[role] + 0.3 * torch.randn(3, 6, generator=generator) for role in roles]), [str(role) for role in roles]


# -- exercise 2 -------------------------------------------------------------------------------------
def _role_vectors() -> tuple[Tensor, list[str]]:
    generator = torch.Generator().manual_seed(2)
    n_roles, d_model, at = 14, 10, 4
    basis = torch.linalg.qr(torch.randn(d_model, d_model, generator=generator)).Q
    spread = torch.tensor([6, 3.6, 2.2, 1.2, 0.8, 0.5, 0.4, 0.3, 0.2, 0.1])
    vectors = torch.randn(n_roles, d_model, generator=generator) * spread @ basis.T + 4 * torch.randn(d_model, generator=generator)
    default = vectors.mean(0) + basis @ torch.tensor([9, 5, 4, 0, 0, 14.0, 0, 0, 0, 0])  # far out, and mostly on a way of its own
    names = [f"role {i}" for i in range(n_roles)]
    return torch.cat([vectors[:at], default[None], vectors[at:]]), [*names[:at], "default", *names[at:]]


def _one_pca(student: Callable, vectors: Tensor, names: list[str], n: int) -> None:
    found = _call(student, vectors.clone(), list(names), n)
    if not isinstance(found, tuple | list) or len(found) != 3:
        raise Wrong("Return three things: components, shares, scores.")
    components, shares, scores = (_tensor(f, name) for f, name in zip(found, ("components", "shares", "scores"), strict=True))
    at = names.index("default")
    roles = torch.cat([vectors[:at], vectors[at + 1 :]])
    _check_components(components, vectors, roles, n)
    if not (components @ (vectors[at] - roles.mean(0)) > 0).all():
        raise Wrong(
            "The default projects to the minus side of a component: an SVD leaves the sign to chance. Turn each component whose score of "
            "the default is negative."
        )
    _check_shares(shares, vectors, roles, n)
    _check_scores(scores, components, vectors, roles, at)


def _check_components(components: Tensor, vectors: Tensor, roles: Tensor, n: int) -> None:
    if components.shape != (n, vectors.shape[1]):
        turned = " The components are the rows of Vh; do not transpose." if components.shape == (vectors.shape[1], n) else ""
        raise Wrong(f"The components have the shape {_shape(components)}, not [n, d_model] = [{n}, {vectors.shape[1]}].{turned}")
    centred = roles - roles.mean(0)
    vh = torch.linalg.svd(centred, full_matrices=True).Vh
    if _same_lines(components, vh[:n]):
        if not torch.allclose(components.norm(dim=1), torch.ones(n), atol=1e-3):
            raise Wrong("Your components have the right directions, but are no unit vectors: the rows of Vh are, leave them so.")
        return
    mistakes = {
        "The default took part in your fit: one far point draws a component to itself. Leave its row out.": _lines(
            vectors - vectors.mean(0)
        ),
        "You centred with the default in: the mean of the roles alone is the centre.": _lines(roles - vectors.mean(0)),
        "You did not centre: the first component then points from zero to the mean of the roles. Subtract the mean.": _lines(roles),
        "You neither centred nor left the default out. Leave its row out, then subtract the mean of what is left.": _lines(vectors),
        "You centred every role on itself: the mean is over roles (dim=0), one number a dimension.": _lines(
            roles - roles.mean(1, keepdim=True)
        ),
        "You divided every dimension by its deviation: that is another space. Only centre.": _lines(centred / centred.std(0)),
        "You took columns of what torch.linalg.svd returns third. That is Vh, already transposed: its rows are the components.": vh.T,
    }
    for message, lines in mistakes.items():
        if _same_lines(components, lines[:n]):
            raise Wrong(message)
    cosines = torch.nn.functional.cosine_similarity(components, vh[:n], dim=1).abs()
    raise Wrong(f"These are not the components, and no mistake that I know. Their |cosines| with the right ones: {_numbers(cosines)}.")


def _check_shares(shares: Tensor, vectors: Tensor, roles: Tensor, n: int) -> None:
    s = torch.linalg.svdvals(roles - roles.mean(0))
    right = s**2 / (s**2).sum()
    if shares.shape != (n,):
        raise Wrong(f"The shares have the shape {_shape(shares)}, not [n] = [{n}].")
    if _close(shares, right[:n], 1e-3):
        return
    if _close(shares, (s / s.sum())[:n], 1e-3):
        raise Wrong("Your shares are of singular values. A variance is a singular value *squared*.")
    if _close(shares, right[:n] / right[:n].sum(), 1e-3):
        raise Wrong("Your shares add up to 1 over the first n components: divide by the variance of all of them before you cut.")
    if _close(shares, s[:n] / s[:n].sum(), 1e-3):
        raise Wrong("Square the singular values, and divide by the sum over all of them, not the first n.")
    if any(_close(shares, s[:n] ** 2 / k, 1e-3) for k in (1, len(roles), len(roles) - 1)):
        raise Wrong("These are variances (or sums of squares), not shares: divide by their sum over all components.")
    if _close(shares, torch.linalg.svdvals(vectors - vectors.mean(0))[:n] ** 2 / ((vectors - vectors.mean(0)) ** 2).sum(), 1e-3):
        raise Wrong("Your shares are of a fit with the default in: one far point counts for much of the variance.")
    raise Wrong(f"The shares are {_numbers(shares)}, not {_numbers(right[:n])}: squared singular values over the sum of all of them.")


def _check_scores(scores: Tensor, components: Tensor, vectors: Tensor, roles: Tensor, at: int) -> None:
    right = (vectors - roles.mean(0)) @ components.T
    if scores.shape != right.shape:
        left_out = " The default is left out of the fit, not of the map." if scores.shape == right[1:].shape else ""
        raise Wrong(f"The scores have the shape {_shape(scores)}, not [role, n] = {_shape(right)}.{left_out}")
    if _close(scores, right, 1e-3):
        return
    if _close(scores, vectors @ components.T, 1e-3):
        raise Wrong("Your scores are not centred: subtract the mean of the roles before you project, from the default as well.")
    if _close(scores, (vectors - vectors.mean(0)) @ components.T, 1e-3):
        raise Wrong("You centred the scores with the default in: subtract the mean that the fit subtracted, of the roles alone.")
    if _close(scores.abs(), right.abs(), 1e-3):
        raise Wrong("Scores and components disagree in sign: turn the components first, then project.")
    others = [i for i in range(len(vectors)) if i != at]
    if _close(scores[others], right[others], 1e-3):
        raise Wrong("The roles' scores are right, the default's is not: subtract the same mean, and project on the same components.")
    raise Wrong("The scores are not (vectors - mean of the roles) @ components.T.")


def _lines(matrix: Tensor) -> Tensor:
    return torch.linalg.svd(matrix, full_matrices=False).Vh


def _same_lines(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((torch.nn.functional.cosine_similarity(a, b, dim=1).abs() > 0.9999).all())


# -- exercise 3 -------------------------------------------------------------------------------------
def _all_below(resid: Tensor, axis: Tensor, tau: float) -> Tensor:
    """Every token on the far side: a hook that does nothing shows."""
    v = axis / axis.norm()
    p = resid @ v
    return resid - (p - tau).clamp(min=0)[..., None] * 2 * v - 0.5 * v


def _one_floor(student: Callable, resid: Tensor, axis: Tensor, tau: float, when: str) -> None:
    given, axis_given = resid.clone(), axis.clone()
    found = _call(student, resid, hook=None, axis=axis, tau=tau, told=f" ({when})")
    if not isinstance(found, Tensor):
        raise Wrong(f"Your hook returns a {type(found).__name__}, not a tensor ({when}).")
    if not torch.equal(resid, given) or not torch.equal(axis, axis_given):
        raise Wrong("Your hook changes its input in place: what others have kept of it would change as well. Return a new tensor.")
    if found.shape != resid.shape:
        raise Wrong(f"Your hook turns {_shape(resid)} into {_shape(found)} {when}: the shape must stay.")
    v = axis / axis.norm()
    p = resid @ v
    push = (tau - p).clamp(min=0)
    right = resid + push[..., None] * v
    if _close(found, right):
        if not torch.equal(found[p > tau], resid[p > tau]):
            raise Wrong("Tokens above the threshold come back changed by rounding: add exactly zero to them.")
        return
    raw = resid @ axis
    unit = (
        "Your vector is not of unit length: divide the axis by its norm, once for the projection and once for the push. The "
        "threshold counts along the unit vector."
    )
    mistakes = [
        (unit, resid + (tau - raw).clamp(min=0)[..., None] * axis),
        (unit, resid + (tau - raw).clamp(min=0)[..., None] * v),
        (unit, resid + push[..., None] * axis),
        (
            "Your hook changes tokens above the threshold: it pulls every token *to* it. Clamp the push at zero.",
            resid + (tau - p)[..., None] * v,
        ),
        ("Your hook holds tokens down: that is a ceiling. A floor lifts what is below.", resid + (tau - p).clamp(max=0)[..., None] * v),
        ("Your hook pushes tokens away from the threshold: the push is added, not subtracted.", resid - push[..., None] * v),
        (
            "Your hook adds tau to what is below, however far below: the push is the distance that is missing, tau minus the projection.",
            resid + tau * (p < tau)[..., None] * v,
        ),
        ("Your hook adds tau to every token: that is steering. A floor pushes by what is missing, and only below.", resid + tau * v),
        (
            "Your hook puts tau v in the place of the token: all that it held in other directions is lost. Add a push to it.",
            torch.where((p < tau)[..., None], tau * v, resid),
        ),
        ("You clamped every dimension by itself: the threshold is for one number a token, its projection.", resid.clamp(min=tau)),
        ("Your hook changes nothing: is the push clamped to the wrong side?", resid),
    ]
    if resid.shape[1] > 1:
        last = torch.cat([resid[:, :-1], right[:, -1:]], 1)
        mistakes.insert(0, ("Your hook acts on the last position only: every position of the prompt has a projection of its own.", last))
        mean = resid + (tau - p.mean(1, keepdim=True)).clamp(min=0)[..., None] * v
        mistakes.insert(1, ("Your hook takes one projection for the whole text: each token is measured by itself.", mean))
    elif _close(found, resid):
        raise Wrong(f"Your hook does nothing {when}, though all tokens lie below: while text is written, a pass has one position.")
    for message, value in mistakes:
        if _close(found, value):
            raise Wrong(message)
    if not _close(found[p > tau], resid[p > tau]):
        raise Wrong(f"Your hook changes tokens above the threshold ({when}): add exactly zero to them.")
    landed = found[p < tau] @ v
    raise Wrong(f"Tokens from below should land at {tau} along v and keep the rest; yours land at {_numbers(landed[:4])} ... ({when}).")


# -- exercise 4 -------------------------------------------------------------------------------------
def _reversed_projections() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    is_default = np.repeat([True, False], [80, 320])
    along = np.where(is_default, rng.normal(38, 5, 400), rng.normal(18, 10, 400))  # along the axis
    order = rng.permutation(400)
    return -along[order], is_default[order]


def _one_percentile(student: Callable, reversed_: np.ndarray, is_default: np.ndarray, q: float, cap: float) -> None:
    hint = " np.percentile counts from 0 to 100, np.quantile and torch.quantile from 0 to 1."
    try:
        found = _call(student, reversed_.copy(), is_default.copy(), q, cap)
    except Wrong as error:
        raise (Wrong(f"{error}{hint}") if "[0, 1]" in str(error) else error) from error.__cause__
    _keys(found, ("percentile", "published", "recipe", "own", "weak"))
    along = -reversed_
    what = f"(q = {q:g}, cap = {cap:+g})"
    kept = "You turned the projections but not the percentile: what is in the lowest quarter there is in the *highest* quarter here."
    sign = "The threshold's sign was not turned with the direction"
    roles = "You took the roles instead of the default: is_default is True for the default."
    right = {
        "percentile": 100 - q,
        "published": -cap,
        "recipe": np.percentile(along, 100 - q),
        "own": np.percentile(along[is_default], q),
        "weak": np.percentile(along, q),
    }
    mistakes: dict[str, list[tuple[str, float]]] = {
        "percentile": [
            ("The percentile was not turned with the direction: q counted from the other end is another number.", q),
            ("Percentiles run from 0 to 100 here: count from the other end, 100 minus.", 1 - q / 100),
            ("A percentile has no sign to turn: it is counted from the other end, so 100 minus.", -q),
        ],
        "published": [
            ("You took the absolute value. The sign is turned, not dropped: a cap above zero becomes a floor below zero.", abs(cap)),
            (f"{sign}: along the reversed vector every projection, and so every limit on it, has the other sign.", cap),
        ],
        "recipe": [
            (f"{sign}: the percentile is taken along role - default, the floor lies along the axis.", np.percentile(reversed_, q)),
            (kept + " This floor is far too weak.", np.percentile(along, q)),
            (f"{sign}, and the percentile was: one without the other.", np.percentile(reversed_, 100 - q)),
            ("The published recipe is over all responses, not the default's alone.", np.percentile(along[is_default], 100 - q)),
            ("The published recipe is over all responses, not the roles' alone.", np.percentile(along[~is_default], 100 - q)),
            ("That is the published number again: take the percentile of *these* projections.", -cap),
        ],
        "own": [
            ("You took all responses: this floor is a percentile of the default's alone.", np.percentile(along, q)),
            ("You turned the percentile as well. The 100 - q is for quoting the paper; this q is counted along the axis from the start.",
             np.percentile(along[is_default], 100 - q)),
            (f"{sign}: turn the projections before you take the percentile along the axis.", np.percentile(reversed_[is_default], q)),
            (roles, np.percentile(along[~is_default], q)),
        ],
        "weak": [
            ("You turned the percentile: the point of this floor is that a reader forgot to.", np.percentile(along, 100 - q)),
            (f"{sign}: turn the projections before you take the percentile along the axis.", np.percentile(reversed_, q)),
            ("You took the default's responses: this floor is over all of them.", np.percentile(along[is_default], q)),
        ],
    }  # fmt: skip
    for key, value in right.items():
        got = _number(found[key], key)
        if np.isclose(got, value, atol=1e-4):
            continue
        for message, wrong in mistakes[key]:
            if np.isclose(got, wrong, atol=1e-4):
                raise Wrong(f"'{key}' is {got:.4g} {what}. {message}")
        data = {"all": reversed_, "default": reversed_[is_default]}
        if any(
            np.isclose(abs(got), abs(np.percentile(s * d, p)), atol=1e-4)
            for d in data.values()
            for s in (1, -1)
            for p in (q / 100, 1 - q / 100)
        ):
            raise Wrong(f"'{key}' is {got:.4g} {what}. You gave np.percentile a fraction:{hint}")
        raise Wrong(f"'{key}' is {got:.4g} {what}, and I do not know how that came about. Draw the two number lines, one above the other.")


# -- exercise 5 -------------------------------------------------------------------------------------
def _talks() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Conversations that each keep to a subject, with messages that return in other conversations on that subject."""
    rng = np.random.default_rng(5)
    n_talks, n_turns, dim, subjects, per_subject = 40, 8, 24, 8, 10
    centres = rng.normal(size=(subjects, dim))
    vectors = np.repeat(centres, per_subject, 0) + 0.8 * rng.normal(size=(subjects * per_subject, dim))
    weights = rng.normal(size=dim) / np.sqrt(dim)
    talk = np.repeat(np.arange(n_talks), n_turns)
    subject = talk % subjects
    message = np.concatenate([s * per_subject + rng.choice(per_subject, n_turns, replace=False) for s in subject[::n_turns]])
    y = 0.8 * vectors[message] @ weights + (1.2 * rng.normal(size=n_talks))[talk] + rng.normal(size=subjects * per_subject)[message]
    y += 0.4 * rng.normal(size=len(y))
    order = rng.permutation(len(y))
    names = np.char.add("talk ", talk.astype(str)), np.char.add("message ", message.astype(str))
    return vectors[message][order], y[order], names[0][order], names[1][order]


def _check_sides(folds: Iterable, conversations: np.ndarray, messages: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    n, pairs = len(conversations), []
    for fold in folds:
        if not isinstance(fold, tuple | list) or len(fold) != 2:
            raise Wrong("'folds' is a list of pairs (training rows, test rows), two arrays of row numbers each.")
        train, test = (np.flatnonzero(side) if np.asarray(side).dtype == bool else np.asarray(side, int) for side in fold)
        if len(test):
            pairs.append((train, test))
    if not pairs:
        raise Wrong("There are no folds with test rows in them.")
    if any(np.intersect1d(train, test).size for train, test in pairs):
        raise Wrong("Some rows are in training and in the test of the same fold.")
    whole = [np.flatnonzero(np.isin(conversations, conversations[test]) & np.isin(messages, messages[test])) for _, test in pairs]
    grouped = all(set(test) == set(rows) for (_, test), rows in zip(pairs, whole, strict=True))
    rest = grouped and all(len(train) + len(test) == n for train, test in pairs)
    sides = [
        (name, sum(bool(np.isin(of[test], of[train]).any()) for train, test in pairs))
        for name, of in (("conversation", conversations), ("message", messages))
    ]
    leaks = [(name, count) for name, count in sides if count]
    if leaks:
        names = " and of one ".join(name for name, _ in leaks)
        of = f"in {max(count for _, count in leaks)} of {len(pairs)} folds"
        why = (
            " You train on all rows but the tested ones; a row that shares only one of the two with them belongs to neither side."
            if rest
            else ""
        )
        cure = " Give folds to conversations, or to messages, and not to rows." if not grouped else ""
        raise Wrong(f"Your folds put rows of one {names} on both sides ({of}).{why}{cure}")
    tested = np.bincount(np.concatenate([test for _, test in pairs]), minlength=n)
    if (tested == 0).any():
        raise Wrong(
            f"Only {np.mean(tested > 0):.0%} of the rows are ever tested. With n folds of conversations and n of messages there are n x n "
            "cells, not n: test each of them."
        )
    if (tested > 1).any():
        raise Wrong("Some rows are tested in more than one fold: every row is foretold once.")
    if min(len(train) for train, _ in pairs) < n / 3:
        raise Wrong("Some of your fits learn from less than a third of the rows: leave out what shares a fold with the test rows, no more.")
    return pairs


def _check_predicted(values: Any, folds: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    predicted = np.asarray(values, float)
    if predicted.shape != y.shape:
        raise Wrong(f"'predicted' has the shape {list(predicted.shape)}, not [row] = {list(y.shape)}, in the order of y.")
    if np.isnan(predicted).any():
        raise Wrong("Some rows are not foretold (NaN), though your folds test them all.")
    right = np.empty(len(y))
    for train, test in folds:
        right[test] = ridge(x[train], y[train], x[test])
    if np.allclose(predicted, right, atol=1e-6):
        return predicted
    if np.allclose(predicted, ridge(x, y, x), atol=1e-6):
        raise Wrong("You foretold every row by a fit on all rows: that is in sample. Fit on the training rows of its fold.")
    if np.allclose(predicted, np.concatenate([right[test] for _, test in folds]), atol=1e-6):
        raise Wrong("Your predictions are in the order of the folds, not of the rows: write each to its place, predicted[test] = ...")
    raise Wrong("'predicted' is not what ridge(x[train], y[train], x[test]) gives with your folds.")


def _check_r2(value: Any, predicted: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray, y: np.ndarray) -> None:
    got = _number(value, "r2")
    if np.isclose(got, r_squared(y, predicted), atol=1e-4):
        return
    if np.isclose(got, np.mean([r_squared(y[test], predicted[test]) for _, test in folds if len(test) > 1]), atol=1e-4):
        raise Wrong("You averaged the R2 of the folds: each is then measured about its own few rows' mean. Pool the rows, then one R2.")
    if np.isclose(got, np.corrcoef(y, predicted)[0, 1] ** 2, atol=1e-4):
        raise Wrong("That is a squared correlation: it cannot be negative, and forgives a wrong scale. R2 counts the errors themselves.")
    if np.isclose(got, r_squared(y, ridge(x, y, x)), atol=1e-4):
        raise Wrong("That is the R2 in sample, of a fit that has seen every row.")
    if np.isclose(got, r_squared(predicted, y), atol=1e-4):
        raise Wrong("You exchanged what was measured and what was foretold: r_squared(y, predicted).")
    raise Wrong(f"'r2' is {got:.3f}, but r_squared(y, predicted) of your own predictions is {r_squared(y, predicted):.3f}.")


def _check_naive(value: Any, honest: float, x: np.ndarray, y: np.ndarray, conversations: np.ndarray) -> None:
    got, claims = _number(value, "naive"), []
    for seed in range(12):
        order, predicted = np.random.default_rng(seed).permutation(len(y)), np.empty(len(y))
        for test in np.array_split(order, 5):
            train = np.setdiff1d(order, test)
            predicted[test] = ridge(x[train], y[train], x[test])
        claims.append(r_squared(y, predicted))
    low, high = min(claims) - 0.03, max(claims) + 0.03
    if low <= got <= high:
        return
    if np.isclose(got, honest, atol=1e-4):
        raise Wrong("'naive' is the held-out R2 again: what would have come out with rows dealt into folds one by one, whosever they are?")
    if np.isclose(got, r_squared(y, ridge(x, y, x)), atol=1e-4):
        raise Wrong("'naive' is the R2 in sample. A naive KFold does hold rows out: it deals rows into folds, without looking at groups.")
    why = " Did you deal conversations or messages instead of rows?" if got < low else " Were test rows in the fit?"
    raise Wrong(f"'naive' is {got:.3f}; rows dealt at random into five folds give {low:.2f} to {high:.2f}.{why}")


# -- common -----------------------------------------------------------------------------------------
def _call(student: Callable, *args: Any, told: str = "", **kwargs: Any) -> Any:
    name = getattr(student, "__name__", "your function")
    try:
        found = student(*args, **kwargs)
    except NotImplementedError as error:
        raise Wrong(f"Nothing to check yet: fill in {error or name}.") from None
    except Exception as error:
        raise Wrong(f"{name} stopped with {type(error).__name__}: {error}.{told}") from error
    if found is None:
        raise Wrong(f"{name} returns nothing: is there a return at its end?")
    return found


def _praise(number: str, text: str) -> None:
    print(f"Exercise {number} is right: {text}")


def _tensor(value: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(value).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise Wrong(f"{name[0].upper() + name[1:]} should be a tensor, not a {type(value).__name__}.") from error


def _keys(found: Any, names: tuple[str, ...]) -> None:
    if not isinstance(found, dict) or (missing := [name for name in names if name not in found]):
        lacks = f"; {', '.join(map(repr, missing))} missing" if isinstance(found, dict) else ""
        raise Wrong(f"Return a dict with {', '.join(map(repr, names))}{lacks}.")


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Wrong(f"'{name}' should be one number, not a {type(value).__name__}.") from error


def _close(a: Tensor, b: Tensor, atol: float = 1e-4) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), atol=atol, rtol=1e-4)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{v:.3f}" for v in values.flatten().tolist())
