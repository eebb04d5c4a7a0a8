# SPDX-License-Identifier: GPL-3.0-or-later
"""What synchronising ten views costs outside the networks, at the paper's setting.

    .venv/bin/python benchmarks/mesh_coupling.py [--subdivisions 6]

Ten views of 96 x 96 latent pixels of a lumpy ball (6 subdivisions: 81,920 faces). Prints the time
to look at the mesh, to build the coupling, and of one correction, beside one plain DDIM step.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import trimesh

from syncsde_engine import noise
from syncsde_engine.coupling import couple
from syncsde_engine.mesh.cameras import paper_cameras
from syncsde_engine.mesh.mesh import Mesh, normalise
from syncsde_engine.mesh.project import observe, view_to_view
from syncsde_engine.mesh.rasterize import rasterizer
from syncsde_engine.schedule import Schedule
from syncsde_engine.strategies import Independent, SyncSDE

LATENT = 96
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subdivisions", type=int, default=6)
    ball = trimesh.creation.icosphere(subdivisions=parser.parse_args().subdivisions)
    ball.vertices *= 1 + 0.2 * np.sin(3 * ball.vertices[:, :1])
    mesh = Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32))
    mesh, _ = normalise(mesh)
    raster = rasterizer("builtin", torch.device("cpu"))

    scene = observe(mesh, paper_cameras(), raster)
    look = seconds(lambda: observe(mesh, paper_cameras(), raster), 3)
    build = seconds(lambda: couple(view_to_view(scene, LATENT)), 3)
    coupling = couple(view_to_view(scene, LATENT))

    y = noise.initial(0, 10, (4, LATENT, LATENT))
    eps = noise.initial(1, 10, (4, LATENT, LATENT))
    step = Schedule.from_config(STABLE_DIFFUSION).steps(30)[0]
    free = seconds(lambda: Independent().advance(y, eps, step, coupling), 30)
    synced = seconds(lambda: SyncSDE().advance(y, eps, step, coupling), 30)

    print(f"{len(mesh.triangles)} faces, 10 views of {LATENT} x {LATENT} x 4, CPU")
    print(f"look at the mesh (10 depth maps)   {look * 1e3:8.0f} ms once")
    print(f"build the coupling                 {build * 1e3:8.0f} ms once")
    print(f"DDIM step                          {free * 1e3:8.2f} ms a step")
    print(f"DDIM step with SyncSDE correction  {synced * 1e3:8.2f} ms a step")
    print(f"ratio                              {synced / free:8.1f}")


if __name__ == "__main__":
    main()
