"""Boosters on disk: XGBoost's own JSON, checked before its trees are followed.

A missing child node crashes XGBoost, which trusts its files; here a circle of nodes would be followed for ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io
from duchenne.learn.boosted_trees import BoostedTrees
from duchenne.types import Array

SUFFIX = ".xgb.json"
_MOST = 2**28  # bytes: hundreds of times the largest
_MOST_NODES, _MOST_LEVELS, _MOST_CLASSES = 2**24, 64, 4096
_OBJECTIVES = ("binary:logistic", "multi:softprob")
_ROOT = 2**31 - 1  # what XGBoost writes as the parent of a root
#: Arrays of a tree with one whole number, or one number, for each of its nodes.
_WHOLE = ("left_children", "right_children", "parents", "split_indices", "split_type", "default_left")
_REAL = ("split_conditions", "base_weights", "loss_changes", "sum_hessian")


def write(path: Path, booster: BoostedTrees) -> None:
    """Write XGBoost's JSON."""
    with io.atomic(path) as part:
        part.write_bytes(booster.source)


def read(path: Path, columns: int) -> BoostedTrees:
    """The trees of a file, for `columns` inputs; ValueError, with a phrase, where it is invalid."""
    try:
        source = io.read_bytes(path, _MOST)
        found = io.parse_json(source)
        _check(found, columns)
        return BoostedTrees.of(source, found)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = error if type(error) is ValueError else "a part is missing or has the wrong type"
        raise ValueError(f"{path.name} is not a valid booster ({why})") from error


def _check(found: dict[str, Any], columns: int) -> None:
    """ValueError, LookupError or TypeError for what cannot be followed to an answer."""
    learner = found["learner"]
    param, gradient, objective = (learner[name] for name in ("learner_model_param", "gradient_booster", "objective"))
    if gradient["name"] != "gbtree" or objective["name"] not in _OBJECTIVES:
        raise ValueError("it uses another booster or objective")
    if int(param["num_feature"]) != columns or int(param.get("num_target", 1)) != 1:
        raise ValueError(f"it does not read {columns} columns")
    if learner["feature_names"] or learner["feature_types"]:
        raise ValueError("it has named columns")
    classes = int(param["num_class"])
    softmax = objective["name"] == "multi:softprob"
    if not (2 <= classes <= _MOST_CLASSES if softmax else classes == 0):
        raise ValueError(f"it has {classes} classes")
    if softmax and int(objective["softmax_multiclass_param"]["num_class"]) != classes:
        raise ValueError("its numbers of classes differ")
    model = gradient["model"]
    trees, size = model["trees"], model["gbtree_model_param"]
    places, kinds = _whole(model["iteration_indptr"]), _whole(model["tree_info"])
    if int(size["num_trees"]) != len(trees) or int(size["num_parallel_tree"]) != 1 or len(kinds) != len(trees):
        raise ValueError("its number of trees is wrong")
    if len(places) < 1 or places[0] != 0 or places[-1] != len(trees) or (np.diff(places) < 0).any():
        raise ValueError("its rounds do not match its trees")
    if ((kinds < 0) | (kinds >= max(1, classes))).any() or any(model.get("cats", {}).values()):
        raise ValueError("its trees belong to unknown classes")
    if trees:
        _check_trees(trees, columns)


def _check_trees(trees: list[dict[str, Any]], columns: int) -> None:
    sizes = np.array([int(tree["tree_param"]["num_nodes"]) for tree in trees])
    if (sizes < 1).any() or sizes.sum() > _MOST_NODES:
        raise ValueError("its trees are empty or too large")
    for number, tree in enumerate(trees):
        about = tree["tree_param"]
        if any(len(tree[name]) != sizes[number] for name in (*_WHOLE, *_REAL)):
            raise ValueError(f"tree {number} is truncated")
        if any(tree[name] for name in tree if name.startswith("categories")):
            raise ValueError("it has categorical splits")
        if int(about["num_feature"]) != columns or int(about["size_leaf_vector"]) > 1 or tree["id"] != number:
            raise ValueError(f"tree {number} belongs to another booster")
    nodes = {name: _whole([value for tree in trees for value in tree[name]]) for name in _WHOLE}
    parts = {name: _real([value for tree in trees for value in tree[name]]) for name in _REAL}
    inner = nodes["left_children"] != -1
    if nodes["split_type"].any() or (parts["sum_hessian"][inner] <= 0).any():
        raise ValueError("its trees have splits that are not numeric")
    if ((nodes["split_indices"] < 0) | (nodes["split_indices"] >= columns)).any():
        raise ValueError("its trees read missing columns")
    _check_walk(nodes, inner, sizes)


def _check_walk(nodes: dict[str, Array], inner: Array, sizes: Array) -> None:
    """ValueError where a path from a root leaves its tree, visits a node twice, or is too long."""
    first = np.cumsum(sizes) - sizes
    start, size = np.repeat(first, sizes), np.repeat(sizes, sizes)
    left, right = nodes["left_children"], nodes["right_children"]
    if (right[~inner] != -1).any():
        raise ValueError("its trees have nodes with a single child")
    for child in (left[inner], right[inner]):
        if ((child < 1) | (child >= size[inner])).any():
            raise ValueError("its trees lead to missing nodes")
    children = np.concatenate([(left + start)[inner], (right + start)[inner]])
    own = np.tile((np.arange(len(start)) - start)[inner], 2)
    if len(np.unique(children)) < len(children) or (nodes["parents"][children] != own).any():
        raise ValueError("its trees visit a node twice")
    if (nodes["parents"][first] != _ROOT).any():
        raise ValueError("its trees have no root")
    level, down = first, np.stack([left + start, right + start])
    for _ in range(_MOST_LEVELS):
        level = down[:, level[inner[level]]].ravel()
        if not len(level):
            return
    raise ValueError(f"its trees have more than {_MOST_LEVELS} levels")


def _whole(values: list[Any]) -> Array:
    """int64 of a list; ValueError unless all are 32-bit integers."""
    if set(map(type, values)) <= {int} and max(values, default=0) < 2**31 and min(values, default=0) > -(2**31):
        return np.array(values, np.int64)
    raise ValueError("its trees hold values that are not integers")


def _real(values: list[Any]) -> Array:
    """float32 of a list; ValueError unless all are finite."""
    if set(map(type, values)) <= {int, float}:
        with np.errstate(over="ignore"):
            found = np.array(values, float).astype(np.float32)
        if np.isfinite(found).all():
            return found
    raise ValueError("its trees hold values that are not finite")
