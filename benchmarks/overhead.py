# SPDX-License-Identifier: GPL-3.0-or-later
"""What synchronization costs beside the networks, at the paper's settings.

    .venv/bin/python benchmarks/overhead.py [--subdivisions 6] [--steps 3]

For each task: the sampler's loop with the networks of mini, at the latent sizes the paper uses for
Stable Diffusion. "network" is the time inside forward passes, "outside" all the rest of the loop,
"correction" what SyncSDE adds to a plain DDIM step. The mesh is a lumpy ball (6 subdivisions:
81,920 faces); its coupling is built once a run.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
import trimesh

from syncsde_engine.mesh.mesh import Mesh, normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.mesh.views.control import depth_control
from syncsde_engine.mesh.views.maps import view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.scene import Scene, observe
from syncsde_engine.method.canvas import Canvas
from syncsde_engine.method.coupling import Overlap, earlier
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.strategies import Independent, SyncSDE
from syncsde_engine.models import catalog
from syncsde_engine.models.loading import load
from syncsde_engine.models.stable_diffusion import StableDiffusion
from syncsde_engine.tasks.mask import layers
from syncsde_engine.tasks.patches import crops, starts
from syncsde_engine.usage import Usage

CPU = torch.device("cpu")
VIEW, IMAGE = 96, 64  # latent cells of the paper's 768- and 512-pixel pictures


class Problem(NamedTuple):
    overlap: Overlap
    side: int  # latent cells
    steps: int
    recorded: int  # trajectories
    control: torch.Tensor | None


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def lumpy_ball(subdivisions: int) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    ball.vertices *= 1 + 0.2 * np.sin(3 * ball.vertices[:, :1])
    mesh, _ = normalize(Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32)))
    return mesh


def problems(scene: Scene) -> dict[str, Problem]:
    square = torch.zeros(IMAGE, IMAGE, dtype=torch.int64)
    square[16:48, 16:48] = 1
    mask = layers(square, 2, whole=True).overlap()
    columns = starts(256, IMAGE, 16)
    turned = torch.stack([cells := torch.arange(IMAGE**2).view(IMAGE, IMAGE), cells.rot90(2)])
    ambiguous = Canvas(IMAGE, IMAGE, turned, torch.ones(turned.shape)).overlap()
    return {
        "mesh": Problem(
            view_to_view(scene, VIEW), VIEW, 30, 0, depth_control(view_maps(scene, VIEW * 8))
        ),
        "mask": Problem(mask, IMAGE, 50, 0, None),
        "edit": Problem(mask, IMAGE, 50, 1, None),
        "wide": Problem(crops(IMAGE, 256, IMAGE, [0], columns).overlap(), IMAGE, 50, 0, None),
        "ambiguous": Problem(ambiguous, IMAGE, 30, 0, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subdivisions", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3, help="steps of each task that are run")
    options = parser.parse_args()

    mesh = lumpy_ball(options.subdivisions)
    raster = rasterizer("builtin", CPU)
    scene = observe(mesh, paper_cameras(), raster)
    look = seconds(lambda: observe(mesh, paper_cameras(), raster), 3)
    build = seconds(lambda: earlier(view_to_view(scene, VIEW)), 3)
    print(f"{len(mesh.triangles)} faces: ten depth maps {look:.2f} s, coupling {build:.2f} s, once")

    model = load(catalog.locate("mini"), CPU, control=True)
    print("task       N  cells  ms a step: network  outside  correction   outside / network")
    for task, problem in problems(scene).items():
        print(f"{task:9} {row(model, problem, options.steps)}", flush=True)


def row(model: StableDiffusion, problem: Problem, count: int) -> str:
    """Run `count` steps of a problem and tell where the time went."""
    overlap, side, total_steps, recorded, control = problem
    y = Noise(0, (overlap.count, model.channels, side, side), CPU).initial()
    alive = overlap.count - recorded
    denoiser = model.guided(["a stone"] * alive, [""] * alive, 3.0, None, control=control)
    steps = model.schedule.steps(total_steps)[:count]
    coupling, strategy = earlier(overlap), SyncSDE()
    path = y[:recorded].expand(total_steps + 1, *y[:recorded].shape) if recorded else None
    denoiser.predict_noise(y[recorded:], steps[0])  # warm-up
    model.usage = Usage()
    start = time.perf_counter()
    for _ in sample(y, steps, denoiser, strategy, coupling, recorded=path):
        pass
    total = time.perf_counter() - start
    network = model.usage.seconds
    plain = seconds(lambda: Independent().advance(y, y, steps[0], coupling, None), 20)
    synced = seconds(lambda: strategy.advance(y, y, steps[0], coupling, None), 20)
    return (
        f"{overlap.count:2}  {side:5}  {network / count * 1e3:18.0f}"
        f"  {(total - network) / count * 1e3:7.1f}  {(synced - plain) * 1e3:10.2f}"
        f"  {(total - network) / network:17.2%}"
    )


if __name__ == "__main__":
    main()
