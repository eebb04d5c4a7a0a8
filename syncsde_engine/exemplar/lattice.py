# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures that repeat in rows and columns, as tiles do, and where in its cell a patch lies.

Patches are too small to keep a lattice: each course of tiles would begin where it likes. So the
phase of a place, an angle for each axis, is compared like a color: a patch of the picture fits a
site if both lie at the same place of a cell. Which cell stays free.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .picture import Floats, Picture, Scale
from .sites import Sites

SIDE = 192  # pixels at which a picture is searched for periods
LEAST, MOST = 3, 40  # periods along a side
REPEATED = 0.25  # least correlation with the picture one period on
DISTINCT = 0.25  # and how much less there is half a period on
ALMOST = 0.8  # of the best contrast: the shortest period that has so much is taken
WEIGHT = 12.0  # of a phase, in deviations of the noise
LEAST_NOISE = 0.3  # that phases are compared under: they are never exact


def periods_of(picture: Picture) -> tuple[int, int] | None:
    """How often a picture repeats along its rows and along its columns; None if it does not.

    Both must: what has courses or boards only, as roofs, is no lattice.
    """
    power = np.abs(np.fft.fft2(picture.resized(SIDE, SIDE).numpy())) ** 2
    power = power.sum(0)
    power[0, 0] = 0
    down, across = (_periods(power.sum(1 - axis) / power.sum()) for axis in (0, 1))
    return (down, across) if down and across else None


def _periods(power: NDArray[np.floating]) -> int:
    """The number of periods in an axis of that spectrum (SIDE,); 0 for none."""
    frequency = np.fft.fftfreq(len(power), 1 / len(power))
    number = np.arange(LEAST, MOST + 1)[:, None]
    whole, half = (
        (power * np.cos(2 * np.pi * frequency * part / number)).sum(1) for part in (1.0, 0.5)
    )
    contrast = np.where(whole >= REPEATED, whole - half, 0)
    if contrast.max() < DISTINCT:
        return 0
    # What repeats does so every second and third time, too.
    beside = np.pad(contrast, 1)
    peak = (contrast >= beside[:-2]) & (contrast >= beside[2:])
    return int(number[peak & (contrast >= ALMOST * contrast.max())].max())


class Lattice(NamedTuple):
    """How often a picture repeats, and where in a cell each site lies."""

    periods: tuple[int, int]  # of the whole picture, along its rows and its columns
    phases: Floats  # (n, 4) of the sites of the finest scale


class Phases(NamedTuple):
    """What sites and patches of one scale are compared by beside their colors."""

    sites: Floats  # (n, 4)
    patches: Floats  # (M, 4)


def flat_lattice(
    picture: Picture, size: tuple[int, int], place: Floats, around: int | None = None
) -> Lattice | None:
    """The lattice of a picture of `size` on a flat image, if it has one.

    `place` (n, 2) has the row and column of each site, in pixels of the picture. With `around` so
    many columns go around, and so does a whole number of periods: cells are a little wider or
    narrower there than in the picture.
    """
    periods = periods_of(picture)
    if periods is None:
        return None
    often = np.array(periods) / np.array(size)  # periods a pixel
    if around is not None:
        often[1] = max(1, round(often[1] * around)) / around
    return Lattice(periods, phases(place * often))


def phases(turns: NDArray[np.floating]) -> Floats:
    """What turns (n, 2), in whole periods, are compared by: cosines and sines, (n, 4)."""
    angle = 2 * np.pi * turns
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def at_all_scales(lattice: Lattice, size: tuple[int, int], sites: Sequence[Sites]) -> list[Phases]:
    """The phases of all scales of sites and of a picture of `size`: means of those of finer ones.

    They are shorter, and count for less, the more of a cell lies within one pixel.
    """
    place = (np.indices(size).reshape(2, -1).T + 0.5) / np.array(size)
    here, there = lattice.phases, phases(place * lattice.periods).reshape(*size, 4)
    found = [Phases(here, there.reshape(-1, 4))]
    for finer, coarser in itertools.pairwise(sites):
        number = np.bincount(finer.parent, minlength=coarser.count)[:, None]
        total = [np.bincount(finer.parent, part, coarser.count) for part in here.T]
        here = (np.stack(total, axis=1) / np.maximum(number, 1)).astype(np.float32)
        rows, columns = there.shape[0] // 2, there.shape[1] // 2
        there = there.reshape(rows, 2, columns, 2, 4).mean((1, 3))
        found.append(Phases(here, there.reshape(-1, 4)))
    return found


def in_phase(scale: Scale, features: Floats, phases: Phases, noise: float) -> tuple[Scale, Floats]:
    """Compare the phases, too, as if they were colors under that much noise."""
    weight = np.float32(WEIGHT * max(noise, LEAST_NOISE))
    here, there = weight * phases.sites, weight * phases.patches
    padding = scale.searched.shape[1] - scale.count
    length = scale.length.copy()
    length[: scale.count] += (there**2).sum(1)
    both = replace(
        scale,
        patches=np.concatenate([scale.patches, there], axis=1),
        searched=np.concatenate([scale.searched, np.pad(there, ((0, padding), (0, 0))).T]),
        length=length,
    )
    return both, np.concatenate([features, here], axis=1)
