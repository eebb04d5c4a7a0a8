# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading, sanitizing and unwrapping a mesh costs, beside trimesh's readers.

    .venv/bin/python benchmarks/intake.py [--repeats 3]

A bumpy ball of 70 thousand and of a million faces with texture coordinates. Medians of several runs
in this process: wall seconds, and processor seconds of all cores, which say more on a busy machine.
The memory is the peak of the process so far.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import trimesh
from geometry import ROWS, bumpy_ball

from syncsde_engine.mesh.files.io import load, textured_glb
from syncsde_engine.mesh.intake.take_in import take_in
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.pictures import png

SIZE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for name, rows in ROWS.items():
        mesh = bumpy_ball(rows)
        print(f"\n{name}: {len(mesh.triangles)} faces")
        print(f"{'':36}{'wall s':>8}{'cpu s':>8}{'GB':>8}")
        with tempfile.TemporaryDirectory() as folder:
            obj, glb = write(mesh, Path(folder))
            for label, stage in stages(mesh, obj, glb).items():
                wall, cpu = seconds(stage, options.repeats)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                print(f"{label:36}{wall:8.2f}{cpu:8.2f}{peak:8.2f}", flush=True)


def stages(mesh: Mesh, obj: Path, glb: Path) -> dict[str, Callable[[], Any]]:
    return {
        "read OBJ": lambda: load(obj),
        "read OBJ, trimesh": lambda: trimesh.load(obj, process=False),
        "read GLB": lambda: load(glb),
        "read GLB, trimesh": lambda: trimesh.load(glb, process=False),
        "sanitize, own UVs": lambda: take_in(mesh, "auto", SIZE),
        "sanitize, unwrap in charts": lambda: take_in(mesh, "unwrap", SIZE, 0.0),
        "sanitize, unwrap as by default": lambda: take_in(mesh, "unwrap", SIZE),
    }


def write(mesh: Mesh, folder: Path) -> tuple[Path, Path]:
    """The mesh as OBJ and as GLB."""
    obj, glb = folder / "ball.obj", folder / "ball.glb"
    with obj.open("w") as file:
        np.savetxt(file, mesh.positions, "v %.6f %.6f %.6f")
        np.savetxt(file, mesh.uvs, "vt %.6f %.6f")
        corners = np.stack([mesh.triangles, mesh.uv_triangles], axis=2).reshape(-1, 6) + 1
        np.savetxt(file, corners, "f %d/%d %d/%d %d/%d")
    named = replace(mesh, textures=("ball",))
    glb.write_bytes(textured_glb(named, [png(np.zeros((4, 4, 3), np.uint8))]))
    return obj, glb


def seconds(stage: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median wall and processor time."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        stage()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return median(walls), median(cpus)


if __name__ == "__main__":
    main()
