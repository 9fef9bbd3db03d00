"""Boosters on disk: xgboost's own UBJSON, checked in full before xgboost sees it.

xgboost trusts its files: a child that does not exist, or a length that lies, ends the process. So the whole of a file
is read here, in the part of UBJSON (https://ubjson.org) that xgboost writes, and its trees are walked.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from duchenne.types import Array

_MOST = 2**28  # bytes: hundreds of times the largest
_MOST_NODES, _MOST_LEVELS, _MOST_CLASSES = 2**24, 64, 4096  # xgboost's recursion goes as deep as a tree
_OBJECTIVES = ("binary:logistic", "multi:softprob")
_ROOT = 2**31 - 1  # what xgboost writes as the parent of a root
_KINDS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_NUMBERS = {marker: np.dtype(kind) for marker, kind in _KINDS.items()}
_WORDS: dict[bytes, Any] = {b"T": True, b"F": False, b"Z": None}
_LENGTH, _L, _END = struct.Struct(">q"), ord("L"), ord("}")
#: Arrays of a tree that have one number for each of its nodes.
_PER_NODE = (
    *("left_children", "right_children", "parents", "split_indices", "split_type", "default_left"),
    *("split_conditions", "base_weights", "loss_changes", "sum_hessian"),
)


def read(path: Path, columns: int) -> Any:
    """The xgboost Booster of a file, on rows of so many numbers; ValueError, in words, where it is none."""
    import xgboost

    if path.stat().st_size > _MOST:
        raise ValueError(f"{path.name} is larger than {_MOST >> 20} MB")
    data = path.read_bytes()
    try:
        _check(_Reader(data).whole(), columns)
    except (LookupError, TypeError, ValueError, AttributeError, struct.error) as error:
        why = error if isinstance(error, ValueError) else "a part of it is missing or of another kind"
        raise ValueError(f"{path.name} is no booster ({why})") from error
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(data))
    except xgboost.core.XGBoostError as error:  # many lines, which nobody is helped by
        raise ValueError(f"{path.name} is no booster (xgboost does not read it)") from error
    return booster


class _Reader:
    """UBJSON from its first byte to its last; ValueError, LookupError or struct.error for what does not fit."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def whole(self) -> dict[str, Any]:
        """The object that the bytes are."""
        found = self._value(0)
        if self.at != len(self.data) or not isinstance(found, dict):
            raise ValueError("its end is not where it should be")
        return found

    def _length(self, each: int) -> int:
        """How many things of so many bytes each, or more, come next, or ValueError where that cannot be."""
        begun = self.at + 9
        (count,) = _LENGTH.unpack_from(self.data, begun - 8)
        if self.data[begun - 9] != _L or not 0 <= count <= (len(self.data) - begun) // each:
            raise ValueError("it is cut short, or a length is none")
        self.at = begun
        return int(count)

    def _text(self) -> str:
        end = self._length(1) + self.at
        text = self.data[self.at : end].decode()
        self.at = end
        return text

    def _value(self, depth: int) -> Any:
        marker = self.data[self.at : self.at + 1]
        self.at += 1
        if marker in b"{[" and depth > 16:
            raise ValueError("it is nested too deep")
        if marker == b"[":
            return self._array(depth)
        if marker == b"{":
            found: dict[str, Any] = {}
            while self.data[self.at] != _END:
                name = self._text()
                if name in found:
                    raise ValueError(f"it says {name} twice")
                found[name] = self._value(depth + 1)
            self.at += 1
            return found
        if marker == b"S":
            return self._text()
        return _WORDS[marker] if marker in _WORDS else self._numbers(marker, 1)[0]

    def _array(self, depth: int) -> Any:
        kind = b""
        if self.data[self.at] == ord("$"):
            kind, self.at = self.data[self.at + 1 : self.at + 2], self.at + 2
        if self.data[self.at] != ord("#"):
            raise ValueError("a list has no length")
        self.at += 1
        if kind:
            return self._numbers(kind, self._length(_NUMBERS[kind].itemsize))
        return [self._value(depth + 1) for _ in range(self._length(1))]

    def _numbers(self, kind: bytes, count: int) -> Array:
        dtype, begun = _NUMBERS[kind], self.at
        self.at += count * dtype.itemsize
        return np.frombuffer(self.data, dtype, count, begun)


def _check(found: dict[str, Any], columns: int) -> None:
    """ValueError, KeyError or TypeError where xgboost would be led astray."""
    learner = found["learner"]
    told, gradient, objective = (learner[name] for name in ("learner_model_param", "gradient_booster", "objective"))
    if gradient["name"] != "gbtree" or objective["name"] not in _OBJECTIVES:
        raise ValueError("it is of a kind that is not used here")
    if int(told["num_feature"]) != columns or int(told.get("num_target", 1)) != 1:
        raise ValueError(f"it is not of rows of {columns} numbers")
    if len(learner["feature_names"]) or len(learner["feature_types"]):
        raise ValueError("it names columns, which have no names here")
    classes = int(told["num_class"])
    softmax = objective["name"] == "multi:softprob"
    if not (2 <= classes <= _MOST_CLASSES if softmax else classes == 0):
        raise ValueError(f"it is of {classes} classes")
    if softmax and int(objective["softmax_multiclass_param"]["num_class"]) != classes:
        raise ValueError("it contradicts itself on its classes")
    model = gradient["model"]
    trees, size = model["trees"], model["gbtree_model_param"]
    places, kinds = _whole(model["iteration_indptr"]), _whole(model["tree_info"])
    if int(size["num_trees"]) != len(trees) or int(size["num_parallel_tree"]) != 1 or len(kinds) != len(trees):
        raise ValueError("it has other trees than it says")
    if len(places) < 1 or places[0] != 0 or places[-1] != len(trees) or (np.diff(places) < 0).any():
        raise ValueError("its rounds are not those of its trees")
    if ((kinds < 0) | (kinds >= max(1, classes))).any() or any(len(each) for each in model.get("cats", {}).values()):
        raise ValueError("its trees are of classes that it has not")
    if trees:
        _check_trees(trees, columns)


def _check_trees(trees: list[dict[str, Any]], columns: int) -> None:
    sizes = np.array([int(tree["tree_param"]["num_nodes"]) for tree in trees])
    if (sizes < 1).any() or sizes.sum() > _MOST_NODES:
        raise ValueError("its trees have no nodes, or too many")
    for number, tree in enumerate(trees):
        about = tree["tree_param"]
        if any(len(tree[name]) != sizes[number] for name in _PER_NODE):
            raise ValueError(f"its tree {number} is cut short")
        if any(len(tree[name]) for name in tree if name.startswith("categories")):
            raise ValueError("it asks for categories, which are not used here")
        if int(about["num_feature"]) != columns or int(about["size_leaf_vector"]) > 1 or tree["id"] != number:
            raise ValueError(f"its tree {number} is of another booster")
    parts = {name: np.concatenate([tree[name] for tree in trees]) for name in _PER_NODE}
    if not all(np.isfinite(part).all() for part in parts.values()):
        raise ValueError("its trees hold something else than numbers")
    nodes = {name: _whole(parts[name]) for name in _PER_NODE[:4]}
    inner = nodes["left_children"] != -1
    if (parts["split_type"] != 0).any() or (parts["sum_hessian"][inner] <= 0).any():
        raise ValueError("its trees split by something else than numbers")
    if ((nodes["split_indices"] < 0) | (nodes["split_indices"] >= columns)).any():
        raise ValueError("its trees read columns that there are not")
    _check_walk(nodes, inner, sizes)


def _check_walk(nodes: dict[str, Array], inner: Array, sizes: Array) -> None:
    """ValueError where the way down from a root leaves its tree, comes twice to a node, or is too long."""
    first = np.cumsum(sizes) - sizes
    start, size = np.repeat(first, sizes), np.repeat(sizes, sizes)
    left, right = nodes["left_children"], nodes["right_children"]
    if (right[~inner] != -1).any():
        raise ValueError("its trees have nodes with one child")
    for child in (left[inner], right[inner]):
        if ((child < 1) | (child >= size[inner])).any():
            raise ValueError("its trees lead to nodes that there are not")
    children = np.concatenate([(left + start)[inner], (right + start)[inner]])
    own = np.tile((np.arange(len(start)) - start)[inner], 2)
    if len(np.unique(children)) < len(children) or (nodes["parents"][children] != own).any():
        raise ValueError("its trees come twice to one node")
    if (nodes["parents"][first] != _ROOT).any():
        raise ValueError("its trees have no roots")
    level, down = first, np.stack([left + start, right + start])
    for _ in range(_MOST_LEVELS):
        level = down[:, level[inner[level]]].ravel()
        if not len(level):
            return
    raise ValueError(f"its trees have more than {_MOST_LEVELS} levels")


def _whole(values: Any) -> Array:
    """int64; TypeError for anything else than whole numbers."""
    found = np.asarray(values)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise TypeError("whole numbers are expected")
    return found.astype(np.int64)
