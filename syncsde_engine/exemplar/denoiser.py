# SPDX-License-Identifier: GPL-3.0-or-later
"""The noise in a state, for trajectories that show pictures of materials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import DeviceUnavailable
from ..method.schedule import Step
from ..usage import Usage
from . import matching
from .lattice import Phases, in_phase
from .matching import NONE
from .picture import Floats, Picture, Scale
from .sites import Sites

SETTLED = 0.35  # noise of a scale's pixels, in deviations, below which a finer scale takes over
SOFTNESS = 0.02  # of the choice among patches, in twice the squared noise
LEAST_SOFTNESS = 1e-4
LEAST_NOISE = 0.05  # that is assumed
SPOTS = 256  # of each trajectory, by which potentials are found
ROUNDS = 1  # of passing matches on between sites
BESIDE = np.array(
    [[r, c] for r in (-0.9, 0, 0.9) for c in (-0.9, 0, 0.9) if r or c], np.float32
)  # a guess may be off by one
CHUNK = 1 << 13  # sites at once, whose patches fit into a core's cache


class Look(NamedTuple):
    """A picture, and the sites that it is to be seen on; scales of both, the finest first."""

    picture: Picture
    scales: Sequence[Scale]
    sites: Sequence[Sites]
    phases: Sequence[Phases] | None = None  # of a lattice, if the picture is one


@dataclass(frozen=True)
class ExemplarDenoiser:
    """Predicts noise as the Denoiser contract has it; a pure function of state and step.

    Coarse noise hides all but coarse structure: the scale whose pixels' noise is below SETTLED
    answers, and what it knows nothing of is the mean. Matches go from coarse to fine, so that what
    is near in the picture stays together.
    """

    looks: Sequence[Look]
    usage: Usage

    def __post_init__(self) -> None:
        if matching.search_whole is None:
            raise DeviceUnavailable(
                "Painting like a picture needs numba, which is not installed.",
                hint="Install numba, or choose another model.",
                field="model",
            )

    @torch.no_grad()
    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        """(N, 3, h, w) float32 states -> the noise in them, the same shape."""
        with self.usage.count(y.device, exemplar=len(y)):
            noise = math.sqrt((1 - step.alpha) / step.alpha)
            state = y.cpu().movedim(1, -1)
            pixels = (state.reshape(-1, 3) / math.sqrt(step.alpha)).contiguous()
            clean = torch.zeros_like(pixels)
            for look in self.looks:
                pixel = torch.from_numpy(look.sites[0].pixel)
                clean[pixel] = torch.from_numpy(estimate(look, pixels[pixel], noise))
        return step.noise_in(y, clean.view(state.shape).movedim(-1, 1).to(y))

    def draft(self, clean: Tensor) -> list[Draft]:
        """Where in its picture each site of a look has come to be, in pixels of the finest scale.

        `clean` are finished states (N, 3, h, w).
        """
        pixels = clean.cpu().movedim(1, -1).reshape(-1, 3)
        found = []
        for look in self.looks:
            shown = pixels[torch.from_numpy(look.sites[0].pixel)]
            _, match, features = descend(look, shown, 0.0, 0)
            found.append(Draft(match, features, look.scales[0]))
        return found


class Draft(NamedTuple):
    """What finished states show of a picture."""

    match: Floats  # (n, 2) row and column in the picture of every site
    features: Floats  # (n, D) their patches
    scale: Scale


class Matched(NamedTuple):
    middles: Floats  # (n, 27) posterior mean of the middle of each site's patch
    match: Floats  # (n, 2) row and column of the best patch


class Descent(NamedTuple):
    """What the last scale has found, and the patches (n, D) that it was found for."""

    middles: Floats
    match: Floats
    features: Floats


def estimate(look: Look, pixels: Tensor, noise: float) -> Floats:
    """The clean pixels (n, 3) of the finest sites, from noisy ones of variance `noise` squared."""
    level = 0
    while level < len(look.scales) - 1 and noise / 2**level >= SETTLED:
        level += 1
    sites = look.sites[level]
    found = descend(look, pixels, noise, level)
    clean = np.empty((sites.count, 3), np.float32)
    assert matching.lay_down is not None
    matching.lay_down(sites.near, sites.offset, found.middles, clean)
    for finer in range(level - 1, -1, -1):
        clean = spread(clean, look.sites[finer], look.sites[finer + 1])
    return clean


def descend(look: Look, pixels: Tensor, noise: float, level: int) -> Descent:
    """Match the coarsest scale in full, then each finer one near what was found, up to `level`."""
    averaged = [pixels]
    for sites, above in zip(look.sites, look.sites[1:], strict=False):
        averaged.append(pooled(averaged[-1], sites, above.count))
    found: Matched | None = None
    for number in range(len(look.scales) - 1, level - 1, -1):
        scale, sites = look.scales[number], look.sites[number]
        assumed = max(noise / 2**number, LEAST_NOISE)
        variance = 2 * assumed**2
        features = compared = described(averaged[number], scale, sites)
        if look.phases is not None:
            scale, compared = in_phase(scale, features, look.phases[number], assumed)
        if noise == 0:  # what is there is to be found, and nothing else
            potential = np.zeros((int(sites.view[-1]) + 1, scale.count), np.float32)
        else:
            potential = potentials(compared, scale, sites)
        softness = np.float32(max(variance * SOFTNESS, LEAST_SOFTNESS))
        last = number == level
        if found is None:
            found = _search_whole(compared, scale, sites, potential, softness)
        else:
            guess = guesses(found.match, sites, look.sites[number + 1])
            found = _search_near(compared, scale, sites, potential, softness, guess, last)
    assert found is not None
    return Descent(*found, features)  # pyright: ignore[reportPossiblyUnboundVariable]


def _search_whole(
    features: Floats, scale: Scale, sites: Sites, potential: Floats, softness: np.float32
) -> Matched:
    level = np.broadcast_to(scale.length, (len(potential), len(scale.length))).copy()
    level[:, : scale.count] -= potential
    found = Matched(
        np.empty((sites.count, scale.middles.shape[1]), np.float32),
        np.empty((sites.count, 2), np.float32),
    )
    assert matching.search_whole is not None
    matching.search_whole(
        features, sites.view, scale.searched, level, scale.middles, softness, *found, scale.size[1]
    )
    return found


def _search_near(
    features: Floats,
    scale: Scale,
    sites: Sites,
    potential: Floats,
    softness: np.float32,
    guess: Floats,
    last: bool,
) -> Matched:
    assert matching.search_near is not None
    before = np.empty((0, 2), np.float32)
    nothing = np.empty((0, scale.middles.shape[1]), np.float32)
    for turn in range(ROUNDS + 1):
        final = last and turn == ROUNDS
        found = Matched(
            np.empty((sites.count, scale.middles.shape[1]), np.float32) if final else nothing,
            np.empty((sites.count, 2), np.float32),
        )
        matching.search_near(
            features,
            sites.view,
            scale.patches,
            potential,
            *scale.size,
            guess if turn == 0 else guess[:, :0],
            sites.near,
            sites.offset,
            before,
            softness,
            scale.middles,
            *found,
        )
        before = found.match
    return found  # pyright: ignore[reportPossiblyUnboundVariable]


def described(pixels: Tensor, scale: Scale, sites: Sites) -> Floats:
    """The patches around all sites in the picture's own directions, (n, D)."""
    found = torch.empty(sites.count, scale.basis.shape[1])
    weight, bias = scale.basis, scale.mean @ scale.basis
    patch = torch.from_numpy(sites.patch)
    for first in range(0, sites.count, CHUNK):
        part = slice(first, first + CHUNK)
        around = pixels.index_select(0, patch[part].flatten())
        found[part] = around.view(-1, len(weight)) @ weight - bias
    return found.numpy()


def potentials(features: Floats, scale: Scale, sites: Sites) -> Floats:
    """What each patch of the picture gets added in each trajectory, (V, M), so that all are used.

    A noisy patch is nearest to even ones, which would win everywhere. A patch gets as much as it
    lacks to be the best at one of the spots: GPNN's completeness, subtracted. It is half a step of
    Sinkhorn's, in its hard limit, towards the optimal transport plan between the trajectory's
    patches and the picture's.
    """
    patches = torch.from_numpy(scale.patches)
    lengths = torch.from_numpy(scale.length[: scale.count])
    views = int(sites.view[-1]) + 1
    found = torch.zeros(views, scale.count)
    bounds = np.searchsorted(sites.view, np.arange(views + 1))
    for view in range(views):
        count = int(bounds[view + 1] - bounds[view])
        if count == 0:
            continue
        # Spread evenly, in an order that no pattern has.
        spots = (np.arange(min(SPOTS, count)) * 0.6180339887 % 1 * count).astype(np.int64)
        some = torch.from_numpy(features[bounds[view] + spots])
        distance = (some**2).sum(1)[:, None] + lengths - 2 * some @ patches.T
        found[view] = (distance - distance.amin(1, keepdim=True)).amin(0)
    return (found - found.mean(1, keepdim=True)).numpy()


def guesses(match: Floats, sites: Sites, above: Sites) -> Floats:
    """Candidates (n, T, 2) from the matches of the coarser scale around each site."""
    middle = 2 * match + 0.5
    near = above.near[sites.parent]
    found = middle[near] + 2 * above.offset[sites.parent] + sites.inside[:, None]
    found[near < 0] = NONE
    own = (middle[sites.parent] + sites.inside)[:, None]
    return np.concatenate([own, found, own + BESIDE], axis=1).astype(np.float32)


def pooled(pixels: Tensor, sites: Sites, count: int) -> Tensor:
    """Means (count, 3) of the sites below each parent."""
    parent = torch.from_numpy(sites.parent).long()
    total = torch.zeros(count, 3).index_add_(0, parent, pixels)
    return total / torch.bincount(parent, minlength=count).clamp(min=1)[:, None]


def spread(values: Floats, sites: Sites, above: Sites) -> Floats:
    """From parents (m, C) to sites (n, C), linear between the parents around each."""
    beside = np.take_along_axis(above.near[sites.parent], sites.quadrant, axis=1)
    found = 9 * values[sites.parent]
    total = np.full((sites.count, 1), 9, np.float32)
    for place, share in enumerate((3, 3, 1)):
        there = beside[:, place, None] >= 0
        found += np.where(there, share * values[beside[:, place]], 0)
        total += np.where(there, share, 0)
    return found / total
