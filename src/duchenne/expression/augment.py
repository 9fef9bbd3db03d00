"""Augmentation: random affine transforms, grey levels and random erasing of faces."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from duchenne.expression.recipe import ExpressionRecipe

LEVELS = 256


def augmented(
    x: Tensor, recipe: ExpressionRecipe, generator: torch.Generator, strength: float = 1.0, side: int | None = None
) -> Tensor:
    """float (B, C, S, S) → (B, C, side, side): each image flipped, rotated, sheared, scaled and translated, by one
    bilinear sampling.

    The recipe gives the ranges, all but that of the flip times `strength`; borders are replicated. Before it, grey
    levels are changed by a random power and contrast, and a share `equalization` has its histogram equalised; after it,
    in a share `random_erasing` of the images a box is filled with the mean. `generator` is of the CPU, so that draws
    are the same on every device. `side` is by default that of x.
    """
    if recipe.gamma or recipe.contrast or recipe.equalization:
        x = _lit(x, recipe, generator, strength)
    draws = torch.rand(len(x), 6, generator=generator)
    turn, shear, scale, dx, dy = ((draws[:, :5] * 2 - 1) * strength).unbind(1)
    turn, shear = turn * math.radians(recipe.rotation), (shear * math.radians(recipe.shear)).tan()
    size = (scale * math.log1p(recipe.scale)).exp()
    mirror = torch.where(draws[:, 5] < 0.5, -1.0, 1.0) if recipe.horizontal_flip else torch.ones(len(x))
    cos, sin = turn.cos() * size, turn.sin() * size
    # output coordinates to input coordinates, -1 to 1
    top = torch.stack([cos * mirror, cos * shear - sin, 2 * recipe.translation * dx], 1)
    low = torch.stack([sin * mirror, sin * shear + cos, 2 * recipe.translation * dy], 1)
    size_out = [*x.shape[:2], side or x.shape[2], side or x.shape[3]]
    grid = functional.affine_grid(torch.stack([top, low], 1).to(x.device), size_out, align_corners=False)
    moved = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return _erased(moved, recipe.random_erasing * strength, generator) if recipe.random_erasing else moved


def _lit(x: Tensor, recipe: ExpressionRecipe, generator: torch.Generator, strength: float) -> Tensor:
    """Other light: equalisation, then a power, then contrast about the image's mean; levels stay in 0 to 255."""
    draws = torch.rand(3, len(x), 1, 1, 1, generator=generator).to(x.device)
    white, ranges = LEVELS - 1.0, (math.log1p(recipe.gamma), math.log1p(recipe.contrast))
    power, contrast = (((d * 2 - 1) * strength * most).exp() for d, most in zip(draws, ranges, strict=False))
    x = torch.where(draws[2] < recipe.equalization * strength, equalized(x), x)
    x = white * (x / white).pow(power)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    found: Tensor = (mean + contrast * (x - mean)).clamp(0, white)
    return found


def equalized(x: Tensor) -> Tensor:
    """float (B, C, H, W), grey levels 0 to 255: each channel's histogram equalised (as OpenCV's `equalizeHist`)."""
    flat = x.flatten(2).round().long()
    counts = torch.zeros(*flat.shape[:2], LEVELS, device=x.device).scatter_add_(2, flat, torch.ones_like(flat).float())
    below = counts.cumsum(2)
    least = below.gather(2, flat.amin(2, keepdim=True))
    share = (below.gather(2, flat) - least) / (flat.shape[2] - least).clamp(min=1)
    return (share * (LEVELS - 1)).reshape(x.shape)


def _erased(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Random erasing (Zhong et al., arXiv:1708.04896): a box of 2 to 25 % of the image, with an aspect ratio of
    up to 3."""
    side, draws = x.shape[-1], torch.rand(len(x), 5, generator=generator)
    area, shape = 0.02 + 0.23 * draws[:, 1], (draws[:, 2] * 2 - 1) * math.log(3) / 2
    size = torch.stack([area.sqrt() * shape.exp(), area.sqrt() / shape.exp()], 1).clamp(max=1) * side
    size = torch.where(draws[:, :1] < share, size, 0.0)
    start = draws[:, 3:] * (side - size)
    at = torch.arange(side) + 0.5
    inside = (at >= start[..., None]) & (at < (start + size)[..., None])  # (B, 2, S)
    box = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None].to(x.device)
    return torch.where(box, x.mean(dim=(1, 2, 3), keepdim=True), x)
