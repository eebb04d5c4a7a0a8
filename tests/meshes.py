# SPDX-License-Identifier: GPL-3.0-or-later
"""Small meshes as files, made by trimesh."""

from pathlib import Path

import numpy as np
import trimesh


def ball() -> trimesh.Trimesh:
    """A lumpy ball of 320 faces."""
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.vertices *= 1 + 0.2 * np.sin(3 * mesh.vertices[:, :1])
    return mesh


def save_obj_with_uvs(path: Path) -> Path:
    """Every triangle is an island of its own in a grid, so seams are everywhere."""
    mesh = ball()
    side = int(np.ceil(np.sqrt(len(mesh.faces))))
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices]
    for face in range(len(mesh.faces)):
        u, v = (face % side) / side, (face // side) / side
        for du, dv in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9)):
            lines.append(f"vt {u + du / side:.6f} {v + dv / side:.6f}")
    for face, (a, b, c) in enumerate(mesh.faces + 1):
        t = 3 * face + 1
        lines.append(f"f {a}/{t} {b}/{t + 1} {c}/{t + 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


def save(path: Path) -> Path:
    """In the format of the suffix, without texture coordinates."""
    ball().export(path)
    return path
