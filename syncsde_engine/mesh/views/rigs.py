# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of cameras: rings, what a set leaves unseen, its order, and who stands beside whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..mesh import Mesh
from ..raster.buffers import on_faces
from ..raster.rasterize import Rasterizer
from .cameras import Camera, Float64
from .kernels import GRAZING_COS
from .scene import observe
from .sight import see

RING_TILT = 10.0  # degrees of elevation within which cameras stand in one ring
QUARTER = 90.001  # degrees, with some rounding
CANDIDATES = 64  # places for a further camera, spread over the sphere
CANDIDATE_SIZE = 512  # side of the depth maps they are judged by
SAMPLES = 20_000  # points of the surface they are judged by, as dense as its texels
LEAST_GAIN = 0.002  # of the used texels: what a further camera must add


def ring_cameras(count: int) -> tuple[Camera, ...]:
    """Spread cameras evenly: most on the horizon, from six on also above and below.

    One above and one below look straight down and up; more of them stand at 45 degrees. Listed in
    the paper's manner, each ring from the back round.
    """
    raised = max(0, (count - 2) // 4)
    horizon = count - 2 * raised
    tilt = 90.0 if raised == 1 else 45.0
    return (
        *(Camera(azimuth, 0.0) for azimuth in _round(horizon)),
        *(Camera(azimuth, tilt) for azimuth in _round(raised)),
        *(Camera(azimuth, -tilt) for azimuth in _round(raised)),
    )


def _round(count: int) -> list[float]:
    """Azimuths of a ring that has a front view, from the back over -x."""
    return sorted((360.0 * k / count for k in range(count)), key=lambda a: (a + 180) % 360)


def framed(
    camera: Camera, fov: float = 60.0, orthographic: bool = False, aspect: float = 1.0
) -> Camera:
    """Give a camera around the origin a lens that just holds the unit sphere."""
    if orthographic:
        return replace(camera, distance=2.0, ortho_scale=2.0, aspect=aspect)
    distance = float(1 / np.sin(np.radians(fov) / 2))
    return replace(camera, distance=distance, fov=fov, aspect=aspect)


def off_front(camera: Camera) -> float:
    """Degrees between a camera's direction and the front view's."""
    return float(np.degrees(np.arccos(np.clip(camera.toward[2], -1, 1))))


def front_first(cameras: Sequence[Camera]) -> tuple[Camera, ...]:
    """Order cameras by their angle to the front, so that each follows others beside it."""
    return tuple(sorted(cameras, key=lambda camera: round(off_front(camera), 6)))


def front(cameras: Sequence[Camera]) -> int:
    """Which camera is nearest to the front view."""
    return int(np.argmin([round(off_front(camera), 6) for camera in cameras]))


def neighbors(cameras: Sequence[Camera]) -> list[list[int]]:
    """Each camera with those beside it, ascending: for attention that views share.

    In a ring, cameras of about one elevation, these are the next to the left and to the right. One
    with nobody within a quarter turn has the nearest of all instead.
    """
    toward = np.stack([camera.toward for camera in cameras])
    angle = np.degrees(np.arccos(np.clip(toward @ toward.T, -1, 1)))
    np.fill_diagonal(angle, np.inf)
    groups = []
    for i, camera in enumerate(cameras):
        sides: dict[bool, list[int]] = {False: [], True: []}
        for j, other in enumerate(cameras):
            turn = (other.azimuth - camera.azimuth + 180) % 360 - 180
            level = abs(other.elevation - camera.elevation) <= RING_TILT
            if j != i and level and max(abs(turn), angle[i, j]) <= QUARTER:
                sides[turn > 0].append(j)
        near = {min(side, key=lambda j: angle[i, j]) for side in sides.values() if side}
        if not near and len(cameras) > 1:
            near = {int(np.argmin(angle[i]))}
        groups.append(sorted({i, *near}))
    return groups


class Extended(NamedTuple):
    """A set of cameras with further ones at its end."""

    cameras: tuple[Camera, ...]
    seen: list[float]  # share of the used texels: seen by the set as given, then by each one more


def extend(
    mesh: Mesh,
    cameras: Sequence[Camera],
    lens: Camera,
    most: int,
    rasterizer: Rasterizer,
    peel: int = 0,
    goal: float | None = None,
) -> Extended:
    """Add up to `most` cameras, each where it shows most of what no other sees well enough.

    Places are spread over the sphere around the normalized mesh, which has texture coordinates;
    `lens` is what the new cameras are but for their place. At each they may look through as many
    as `peel` surfaces. Ends early once the best place would add less than LEAST_GAIN; with a `goal`
    in its stead once so much is seen, or none adds anything. Seen means better than GRAZING_COS.
    """
    places = [
        replace(lens, azimuth=a, elevation=e, layer=layer)
        for a, e in _directions(CANDIDATES)
        for layer in range(peel + 1)
    ]
    size = CANDIDATE_SIZE // 2 if peel else CANDIDATE_SIZE  # there are more of them
    scene = observe(mesh, (*cameras, *places), rasterizer, size)
    face, bary = _surface(mesh)
    points = on_faces(scene.positions, scene.triangles, face, bary)
    normals = scene.normals[face]
    sees = []
    for camera, depth in zip(scene.cameras, scene.depth, strict=True):
        sight = see(camera, depth, points, normals)
        sees.append(sight.seen & (sight.cos >= GRAZING_COS))
    given, found = torch.stack(sees).split([len(cameras), len(places)])
    seen = given.any(0)
    shares, chosen = [float(seen.double().mean())], list(cameras)
    least = LEAST_GAIN if goal is None else 1 / SAMPLES
    while len(shares) <= most and shares[-1] < (1 if goal is None else goal):
        gain = (found & ~seen).double().mean(1)
        best = int(gain.argmax())
        if gain[best] < least:
            break
        seen |= found[best]
        chosen.append(places[best])
        shares.append(float(seen.double().mean()))
    return Extended(tuple(chosen), shares)


def _directions(count: int) -> list[tuple[float, float]]:
    """Azimuths and elevations spread evenly over the sphere, by the golden angle."""
    heights = 1 - (2 * np.arange(count) + 1) / count
    azimuths = (np.arange(count) * 180 * (3 - 5**0.5)) % 360
    return [
        (float(azimuth), float(np.degrees(np.arcsin(height))))
        for azimuth, height in zip(azimuths, heights, strict=True)
    ]


def _surface(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """Faces (SAMPLES,) and barycentrics (SAMPLES, 2) of points as dense as the texels."""
    assert mesh.uvs is not None
    assert mesh.uv_triangles is not None
    a, b, c = mesh.uvs.astype(np.float64)[mesh.uv_triangles.T]
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    reached = np.cumsum(area)
    steps: Float64 = (np.arange(SAMPLES) + 0.5) / SAMPLES * reached[-1]
    face: NDArray[np.int64] = np.searchsorted(reached, steps)
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], SAMPLES)[:, :2]
    return torch.from_numpy(face), torch.from_numpy(weights.astype(np.float32))
