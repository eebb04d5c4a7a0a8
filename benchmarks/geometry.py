# SPDX-License-Identifier: GPL-3.0-or-later
"""What the geometry of a texture run costs, beside ray casting and Blender's own bake.

    .venv/bin/python benchmarks/geometry.py [--repeats 3] [--blender .venv/blender-5.0/bin/python]

A bumpy ball of 70 thousand and of a million faces under the paper's ten cameras. Every stage is a
median of several runs in this process: wall seconds, and processor seconds of all cores, which say
more on a busy machine. trimesh casts Embree's rays for the same depth maps; Blender, in a process
of its own, bakes the same views with Cycles. Memory is the peak of a fresh process each, on Linux.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from syncsde_engine.memory import give_back
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.fill import fill
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.mesh import Mesh, normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import clip_positions, paper_cameras
from syncsde_engine.mesh.views.control import depth_control
from syncsde_engine.mesh.views.maps import rays_of, view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.scene import observe

ROWS = {"70k": 132, "1M": 500}  # of the bumpy ball: it has 4 rows**2 faces
VIEW, LATENT, TEXTURE = 768, 96, 2048
LARGEST = 4096  # texture at which the memory is measured
CYCLES_SECONDS = 600
TARGETS = {  # wall seconds on two idle cores
    ("70k", "rasterize"): 0.3,
    ("70k", "coupling"): 0.1,
    ("70k", "bake"): 1.0,
    ("70k", "fill"): 1.5,
    ("70k", "all geometry"): 4.0,
    ("1M", "all geometry"): 10.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--blender", type=Path, default=Path(".venv/blender-5.0/bin/python"))
    parser.add_argument("--memory", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        run(bumpy_ball(ROWS[options.memory]), LARGEST, lambda name, stage: stage())
        # Not getrusage: that begins with the peak of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
        return
    for name, rows in ROWS.items():
        mesh = bumpy_ball(rows)
        print(f"\n{name}: {len(mesh.triangles)} faces, 10 views of {VIEW}, texture {TEXTURE}")
        print(f"{'':24}{'wall s':>8}{'cpu s':>8}{'target':>8}")
        Watch(name, options.repeats).measure_all(mesh)
        beside_embree(mesh, options.repeats)
        if options.blender.exists():
            beside_cycles(mesh, options.blender)
        if sys.platform == "linux":
            command = [sys.executable, __file__, "--memory", name]
            used = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            gigabytes = int(used) * 1024 / 1e9
            print(f"{f'peak memory, {LARGEST}':24}{gigabytes:8.2f}{1.5:>16}  GB", flush=True)


def bumpy_ball(rows: int) -> Mesh:
    """A ball with knobs that hide each other, of 2 rows**2 quads; longitude and latitude as UV."""
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, 2 * rows + 1), indexing="ij")
    theta, phi = np.pi * v, 2 * np.pi * u
    x, y, z = np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)
    radius = 1 + 0.3 * np.sin(5 * x) * np.cos(4 * y + 1) + 0.1 * np.sin(13 * z)
    positions = (np.stack([x, y, z], -1) * radius[..., None]).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(rows), np.arange(2 * rows), indexing="ij")
    a = row * (2 * rows + 1) + column
    b = a + 2 * rows + 1
    triangles = np.stack([a, b, b + 1, a, b + 1, a + 1], -1).reshape(-1, 3).astype(np.int32)
    # Two thirds of the texture are used, as by the usual atlas.
    uvs = np.stack([u, 5 / 6 - v * 2 / 3], -1).reshape(-1, 2).astype(np.float32)
    return normalize(Mesh(positions.astype(np.float32), triangles, uvs, triangles))[0]


def run(mesh: Mesh, size: int, measure: Callable[[str, Callable[[], Any]], Any]) -> None:
    """The stages of a texture run, without the network."""
    backend, cameras = rasterizer("builtin"), paper_cameras()
    images = torch.rand(10, 3, VIEW, VIEW, generator=torch.Generator().manual_seed(0))
    scene = measure("observe", lambda: observe(mesh, cameras, backend))
    texels = measure("texels", lambda: used_texels(scene, size))
    measure("coupling", lambda: view_to_view(scene, LATENT))
    maps = measure("maps", lambda: view_maps(scene, VIEW))
    measure("depth control", lambda: depth_control(maps))
    give_back()
    baked = measure("bake", lambda: bake(scene, images, texels, maps))
    give_back()
    measure("fill", lambda: fill(baked))


class Watch:
    """Prints medians as they come."""

    def __init__(self, name: str, repeats: int) -> None:
        self.name, self.repeats = name, repeats
        self.wall = self.cpu = 0.0

    def measure_all(self, mesh: Mesh) -> None:
        backend = rasterizer("builtin")
        clip = clip_positions(torch.tensor(mesh.positions), paper_cameras())
        triangles = torch.tensor(mesh.triangles)
        self.measure("rasterize", lambda: backend.rasterize(clip, triangles, (VIEW, VIEW)))
        self.wall = self.cpu = 0.0
        run(mesh, TEXTURE, self.measure)
        self.tell("all geometry", self.wall, self.cpu)

    def measure(self, stage: str, work: Callable[[], Any]) -> Any:
        result, wall, cpu = timed(work, self.repeats)
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        self.tell(stage, wall, cpu)
        return result

    def tell(self, stage: str, wall: float, cpu: float) -> None:
        target = TARGETS.get((self.name, stage), "")
        print(f"{stage:24}{wall:8.2f}{cpu:8.2f}{target:>8}", flush=True)


def timed(work: Callable[[], Any], repeats: int) -> tuple[Any, float, float]:
    """The result, and median wall and processor seconds after one warm-up."""
    result = work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return result, median(walls), median(cpus)


def beside_embree(mesh: Mesh, repeats: int) -> None:
    """trimesh and Embree: the depth maps that `rasterize` makes."""
    try:
        import trimesh
        from trimesh.ray.ray_pyembree import RayMeshIntersector
    except ImportError as error:
        print(f"trimesh + Embree: not here ({error})")
        return
    solid = trimesh.Trimesh(mesh.positions, mesh.triangles, process=False)
    caster = RayMeshIntersector(solid)

    def cast() -> None:
        for camera in paper_cameras():
            rays = rays_of(camera, VIEW).direction.reshape(3, -1).T.double().numpy()
            origins = np.broadcast_to(camera.eye, rays.shape)
            caster.intersects_id(origins, rays, multiple_hits=False, return_locations=True)

    _, wall, cpu = timed(cast, repeats)
    print(f"{'  trimesh + Embree rays':24}{wall:8.2f}{cpu:8.2f}{'':>8}  as `rasterize`", flush=True)


def beside_cycles(mesh: Mesh, blender: Path) -> None:
    """Blender bakes the ten views, projected from their cameras, without a visibility test."""
    clip = clip_positions(torch.tensor(mesh.positions), paper_cameras()).numpy()
    places = clip[..., :2] / clip[..., 3:] / 2 + 0.5
    assert mesh.uvs is not None
    script = Path(__file__).with_name("cycles_bake.py")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mesh.npz"
        np.savez(
            file, positions=mesh.positions, triangles=mesh.triangles, uvs=mesh.uvs, views=places
        )
        command = [blender, script, file, str(VIEW), str(TEXTURE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CYCLES_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"Cycles: not done after {CYCLES_SECONDS} s")
            return
    seconds = [line for line in done.stdout.splitlines() if line.startswith("bake ")]
    if done.returncode or not seconds:
        print(f"Cycles: failed ({(done.stderr or done.stdout).strip().splitlines()[-1:]})")
        return
    print(f"{'  Blender, Cycles bake':24}{float(seconds[0].split()[1]):8.2f}{'':16}  as `bake`")


if __name__ == "__main__":
    main()
