# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects as signed distance functions: closures that take (3, N) points and return (N,) distances.

Every family draws its proportions from a `random.Random`. y is up and an object looks along +z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor

Sdf = Callable[[Tensor], Tensor]
Vector = Sequence[float]


def _column(vector: Vector, like: Tensor) -> Tensor:
    return torch.tensor(vector, dtype=like.dtype, device=like.device)[:, None]


def norm(p: Tensor) -> Tensor:
    """Lengths of vectors. (3, N) -> (N,)."""
    # 20 times faster on a CPU than torch.linalg.vector_norm over the first axis.
    x, y, z = p
    return torch.addcmul(torch.addcmul(x * x, y, y), z, z).sqrt()


def ellipsoid(center: Vector, radii: Vector) -> Sdf:
    def distance(p: Tensor) -> Tensor:
        radius = _column(radii, p)
        q = (p - _column(center, p)) / radius
        level = norm(q)
        # Level over gradient: right to first order even for flat ears, which the march depends on.
        slope = norm(q / radius)
        return level * (level - 1) / slope.clamp(min=1e-6)

    return distance


def box(center: Vector, half: Vector, rounding: float = 0.03) -> Sdf:
    def distance(p: Tensor) -> Tensor:
        q = (p - _column(center, p)).abs() - _column(half, p) + rounding
        outside = norm(q.clamp(min=0))
        return outside + q.amax(0).clamp(max=0) - rounding

    return distance


def capsule(start: Vector, end: Vector, radius: float) -> Sdf:
    def distance(p: Tensor) -> Tensor:
        a, axis = _column(start, p), _column(end, p) - _column(start, p)
        along = ((p - a) * axis).sum(0) / (axis * axis).sum()
        return norm(p - a - axis * along.clamp(0, 1)) - radius

    return distance


def turned(profile: Callable[[Tensor], Tensor], half_height: float, steepness: float = 0.7) -> Sdf:
    """A body of revolution about y whose radius at height y is profile(y)."""
    return lambda p: (
        torch.maximum(
            (torch.hypot(p[0], p[2]) - profile(p[1])) * steepness, p[1].abs() - half_height
        )
        - 0.02
    )


def union(parts: Sequence[Sdf], blend: float = 0.0) -> Sdf:
    """All parts together; `blend` is the width over which two surfaces flow into each other."""

    def distance(p: Tensor) -> Tensor:
        total = parts[0](p)
        for part in parts[1:]:
            other = part(p)
            if blend:
                share = (0.5 + 0.5 * (other - total) / blend).clamp(0, 1)
                total = other + (total - other) * share - blend * share * (1 - share)
            else:
                total = torch.minimum(total, other)
        return total

    return distance


def _pair(make: Callable[[float], Sdf]) -> list[Sdf]:
    return [make(-1.0), make(1.0)]


def _sphere(rng: Random) -> Sdf:
    return ellipsoid((0, 0, 0), [0.8 * rng.uniform(0.95, 1.05) for _ in range(3)])


def _cube(rng: Random) -> Sdf:
    return box((0, 0, 0), [0.55 * rng.uniform(0.8, 1.15) for _ in range(3)], 0.06)


def _cylinder(rng: Random) -> Sdf:
    radius = rng.uniform(0.4, 0.6)
    return turned(lambda y: torch.full_like(y, radius), rng.uniform(0.6, 0.8), 1.0)


def _cone(rng: Random) -> Sdf:
    wide = rng.uniform(0.6, 0.8)
    return turned(lambda y: wide * ((0.8 - y) / 1.6).clamp(0, 1), 0.8, 0.88)


def _torus(rng: Random) -> Sdf:
    tube = rng.uniform(0.2, 0.3)
    return lambda p: torch.hypot(torch.hypot(p[0], p[2]) - 0.6, p[1]) - tube


def _capsule(rng: Random) -> Sdf:
    return capsule((0, -0.4, 0), (0, 0.4, 0), rng.uniform(0.35, 0.5))


def _vase(rng: Random) -> Sdf:
    phase, swing = rng.uniform(0, 6), rng.uniform(0.15, 0.25)
    return turned(lambda y: 0.42 + swing * torch.sin((y + phase) * 3.6), 0.82)


def _pillar(rng: Random) -> Sdf:
    shaft = rng.uniform(0.22, 0.32)
    body = turned(lambda y: shaft - 0.06 * y, 0.8, 0.95)
    slab = rng.uniform(0.36, 0.5)
    return union([body, box((0, 0.8, 0), (slab, 0.1, slab)), box((0, -0.8, 0), (slab, 0.12, slab))])


def _bowl(rng: Random) -> Sdf:
    radius = rng.uniform(0.6, 0.8)

    def distance(p: Tensor) -> Tensor:
        shell = (norm(p - _column((0, 0.25, 0), p)) - radius).abs()
        return torch.maximum(shell - 0.08, p[1] - 0.25)

    return distance


def _mug(rng: Random) -> Sdf:
    radius, height = rng.uniform(0.42, 0.54), rng.uniform(0.5, 0.65)

    def distance(p: Tensor) -> Tensor:
        r = torch.hypot(p[0], p[2])
        wall = torch.maximum((r - radius).abs() - 0.07, p[1].abs() - height)
        floor = torch.maximum(r - radius, (p[1] + height - 0.06).abs() - 0.07)
        ring = torch.hypot(torch.hypot(p[0] - radius - 0.08, p[1]) - 0.3, p[2]) - 0.09
        return torch.minimum(torch.minimum(wall, floor), torch.maximum(ring, radius - r))

    return distance


def _blob(rng: Random) -> Sdf:
    fx, fy, fz = (rng.uniform(2, 5) for _ in range(3))
    phase = rng.uniform(0, 6)

    def distance(p: Tensor) -> Tensor:
        bumps = torch.sin(p[0] * fx + phase) * torch.sin(p[1] * fy) * torch.sin(p[2] * fz + 1)
        return (norm(p) - 0.68 - 0.2 * bumps) * 0.6

    return distance


def _compound(rng: Random) -> Sdf:
    parts = [ellipsoid((0, rng.uniform(-0.3, 0.1), 0), [rng.uniform(0.3, 0.5) for _ in range(3)])]
    for _ in range(rng.randint(2, 5)):
        center = [rng.uniform(-0.5, 0.5) for _ in range(3)]
        size = [rng.uniform(0.14, 0.34) for _ in range(3)]
        end = [rng.uniform(-0.75, 0.75) for _ in range(3)]
        kinds = (ellipsoid(center, size), box(center, size), capsule(center, end, 0.16))
        parts.append(rng.choice(kinds))
    return union(parts, 0.12)


def _head_parts(rng: Random, at: Vector, size: float) -> list[Sdf]:
    """Skull, muzzle, eyes and ears around `at`; covers men, monkeys, cats and bears."""

    def placed(x: float, y: float, z: float) -> tuple[float, float, float]:
        return at[0] + x * size, at[1] + y * size, at[2] + z * size

    def sized(*radii: float) -> list[float]:
        return [radius * size for radius in radii]

    wide, deep = rng.uniform(0.5, 0.72), rng.uniform(0.5, 0.7)
    parts = [ellipsoid(placed(0, 0, 0), sized(wide, rng.uniform(0.52, 0.75), deep))]
    if rng.random() < 0.8:
        down, out = rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.4)
        muzzle = sized(rng.uniform(0.2, 0.42), rng.uniform(0.16, 0.3), rng.uniform(0.2, 0.4))
        parts.append(ellipsoid(placed(0, -down, deep * 0.7 + out * 0.5), muzzle))
    eye, apart = rng.uniform(0.09, 0.17), rng.uniform(0.18, 0.3)
    parts += _pair(lambda s: ellipsoid(placed(s * apart, 0.12, deep * 0.85), sized(eye, eye, eye)))
    if rng.random() < 0.85:
        side, up = rng.choice(((1.0, 0.1), (0.95, 0.2), (0.65, 0.7), (0.4, 0.85)))
        ear = sized(rng.uniform(0.14, 0.34), rng.uniform(0.2, 0.4), rng.uniform(0.07, 0.14))
        parts += _pair(lambda s: ellipsoid(placed(s * (wide + 0.15) * side, up * 0.75, 0), ear))
    return parts


def _head(rng: Random) -> Sdf:
    return union(_head_parts(rng, (0, 0, 0), 1.0), rng.uniform(0.04, 0.12))


def _bust(rng: Random) -> Sdf:
    shoulders = ellipsoid((0, -0.45, 0), (rng.uniform(0.45, 0.6), 0.26, 0.28))
    neck = capsule((0, 0.1, 0), (0, -0.4, 0), 0.16)
    body = union([*_head_parts(rng, (0, 0.35, 0), 0.6), neck, shoulders], 0.08)
    if rng.random() < 0.3:
        return body
    width = rng.uniform(0.3, 0.5)
    return union([body, box((0, -0.82, 0), (width, 0.2, width))])


def _creature(rng: Random) -> Sdf:
    length, thick, leg = rng.uniform(0.4, 0.6), rng.uniform(0.22, 0.36), rng.uniform(0.3, 0.6)
    foot = -thick * 0.6 - leg
    parts = [ellipsoid((0, 0, 0), (thick, thick, length))]
    for z in (-0.65 * length, 0.65 * length):
        parts += _pair(
            lambda s, z=z: capsule((s * thick * 0.6, 0, z), (s * thick * 0.7, foot, z), 0.1)
        )
    parts += _head_parts(rng, (0, thick + 0.1, length), rng.uniform(0.38, 0.55))
    if rng.random() < 0.7:
        parts.append(capsule((0, 0, -length), (0, rng.uniform(-0.2, 0.5), -length - 0.3), 0.07))
    return union(parts, 0.08)


def _figure(rng: Random) -> Sdf:
    """A standing humanoid, arms anywhere between hanging and spread."""
    lift, spread, stride = rng.uniform(-0.45, 0.4), rng.uniform(0.45, 0.7), rng.uniform(0, 0.2)
    parts = [ellipsoid((0, 0.2, 0), (rng.uniform(0.22, 0.34), 0.38, rng.uniform(0.17, 0.26)))]
    parts += _pair(lambda s: capsule((0.22 * s, 0.42, 0), (spread * s, 0.4 + lift, 0.08), 0.09))
    parts += _pair(lambda s: capsule((0.14 * s, 0, 0), (0.2 * s, -0.85, stride * s), 0.12))
    parts += _head_parts(rng, (0, 0.76, 0), rng.uniform(0.3, 0.42))
    if rng.random() < 0.3:
        parts.append(box((0, -0.95, 0), (0.4, 0.1, 0.4)))
    return union(parts, 0.07)


def _chair(rng: Random) -> Sdf:
    legs = [box((x, -0.5, z), (0.07, 0.42, 0.07)) for x in (-0.42, 0.42) for z in (-0.42, 0.42)]
    seat, back = box((0, -0.05, 0), (0.5, 0.07, 0.5)), box((0, 0.45, -0.45), (0.5, 0.45, 0.07))
    return union([seat, back, *legs])


def _bunny(rng: Random) -> Sdf:
    parts = [ellipsoid((0, -0.3, 0), (0.48, 0.45, 0.52)), ellipsoid((0, 0.25, 0.25), [0.3] * 3)]
    parts += _pair(lambda s: ellipsoid((0.13 * s, 0.68, 0.12), (0.1, 0.34, 0.09)))
    parts += _pair(lambda s: ellipsoid((0.25 * s, -0.68, 0.35), (0.16, 0.12, 0.22)))
    return union(parts, 0.08)


def _monkey(rng: Random) -> Sdf:
    """A monkey's head of the proportions of Blender's: flat wide ears, deep eyes, broad muzzle."""
    parts = [
        ellipsoid((0, 0.15, -0.1), (0.6, 0.58, 0.6)),
        ellipsoid((0, -0.32, 0.35), (0.36, 0.3, 0.3)),
    ]
    parts += _pair(lambda s: ellipsoid((0.26 * s, 0.18, 0.42), (0.2, 0.2, 0.14)))
    parts += _pair(lambda s: ellipsoid((0.82 * s, 0.12, -0.15), (0.3, 0.26, 0.07)))
    return union(parts, 0.07)


SIMPLE: dict[str, Callable[[Random], Sdf]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "capsule": _capsule,
    "vase": _vase,
    "pillar": _pillar,
    "bowl": _bowl,
    "mug": _mug,
}
FREE_FORM: dict[str, Callable[[Random], Sdf]] = {
    "blob": _blob,
    "compound": _compound,
    "head": _head,
    "bust": _bust,
    "creature": _creature,
    "figure": _figure,
}
HELD_OUT: dict[str, Callable[[Random], Sdf]] = {  # looked at, never trained on
    "monkey": _monkey,
    "bunny": _bunny,
    "chair": _chair,
}
ROUND = frozenset({"sphere", "cylinder", "cone", "capsule", "vase", "bowl", "mug", "pillar"})


def make_shape(name: str, rng: Random) -> Sdf:
    """Draw a shape of the named family, centerd and scaled as the engine normalizes meshes."""
    families = SIMPLE | FREE_FORM | HELD_OUT
    sdf = families[name](rng)
    if name in ("cube", "torus"):
        sdf = _tilted(sdf, rng.uniform(0, 2 * math.pi), rng.uniform(-0.9, 0.9))
    return normalized(sdf)


def _tilted(sdf: Sdf, turn: float, tilt: float) -> Sdf:
    ct, st, cp, sp = math.cos(turn), math.sin(turn), math.cos(tilt), math.sin(tilt)
    rotation = torch.tensor([[ct, st * sp, st * cp], [0, cp, -sp], [-st, ct * sp, ct * cp]])
    return lambda p: sdf(rotation.to(p) @ p)


def normalized(sdf: Sdf) -> Sdf:
    """Move the mean of the surface to the origin and scale its farthest point to radius 1."""
    axis = torch.linspace(-1.5, 1.5, 21)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    distance = sdf(grid)
    near = distance.abs() < 0.1
    shell = grid[:, near]
    shell = shell - gradient(sdf, shell) * distance[near]
    shell = shell[:, sdf(shell).abs() < 0.02]
    center = shell.mean(1, keepdim=True)
    radius = norm(shell - center).max().item()
    return lambda p: sdf(p * radius + center.to(p)) / radius


def gradient(sdf: Sdf, points: Tensor, step: float = 3e-3) -> Tensor:
    """Unit surface normals by tetrahedral differences. (3, N) -> (3, N)."""
    total = torch.zeros_like(points)
    for corner in ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0)):
        direction = _column(corner, points)
        total += direction * sdf(points + step * direction)
    return total / norm(total).clamp(min=1e-9)
