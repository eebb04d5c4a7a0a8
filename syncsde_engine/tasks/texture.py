# SPDX-License-Identifier: GPL-3.0-or-later
"""Mesh texturing: ten depth-controlled views, synchronised where they see the same surface.

Section 3.3.5 and appendix A.5 of the paper, Eqs. 18 and 19.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence

from torch import Tensor

from .. import noise, pictures
from ..config import TextureConfig
from ..coupling import couple
from ..mesh import io
from ..mesh.bake import bake, used_texels
from ..mesh.cameras import Camera, paper_cameras
from ..mesh.fill import fill
from ..mesh.mesh import Mesh, check, check_uvs, normalise
from ..mesh.project import Scene, depth_control, observe, view_maps, view_to_view
from ..mesh.rasterize import rasterizer
from ..mesh.render import render
from ..mesh.unwrap import unwrap
from ..models import catalogue
from ..models.catalogue import Settings
from ..models.stable_diffusion import GuidedDenoiser, StableDiffusion, load, pick_device
from ..report import report
from ..sampler import sample
from ..strategies import Independent, Strategy, SyncSDE
from ..usage import Clock, Usage, memory_named
from . import Artifacts, Progress

UNWRAP_SECONDS = 60.0  # then the fast unwrap takes over
SHEET_CELL = 160  # pixels
OPEN = ("guidance_scale", "control_scale", "view_size", "negative_prompt")  # the model's by default


def run(config: TextureConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Texture the mesh of a job: `inputs["mesh"]` as `mesh.io.from_safetensors` reads it."""
    return (yield from texture(config, io.from_safetensors(inputs["mesh"])))


def texture(config: TextureConfig, mesh: Mesh) -> Generator[Progress, None, Artifacts]:
    """Texture a mesh, yielding after every step. Returns the files of the finished run.

    Raises InvalidMesh, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    with memory_named():
        return (yield from _texture(config, mesh))


def _texture(config: TextureConfig, mesh: Mesh) -> Generator[Progress, None, Artifacts]:
    clock = Clock()
    check(mesh)
    if mesh.uvs is not None:
        check_uvs(mesh)

    yield Progress("load", 0, 1)
    with clock.measure("load"):
        device = pick_device(config.device)
        raster = rasterizer(config.rasterizer, device)
        folder = catalogue.locate(config.model)
        controlnet = catalogue.locate(config.controlnet) if config.controlnet else None
        settings = chosen(config, catalogue.settings(folder))
        model = load(folder, controlnet, device)
        model.usage = Usage()

    yield Progress("geometry", 0, 1)
    with clock.measure("geometry"):
        normalised, _ = normalise(mesh)
        if mesh.uvs is None:  # in the unit sphere, where no scale is too large for the unwrapper
            normalised = unwrap(normalised, config.texture_size, UNWRAP_SECONDS)
            mesh = dataclasses.replace(
                mesh, uvs=normalised.uvs, uv_triangles=normalised.uv_triangles
            )
        scene = observe(normalised, paper_cameras(), raster)
        texels = used_texels(scene, config.texture_size)
        latent_size = settings.view_size // model.latent_scale
        coupling = couple(view_to_view(scene, latent_size)).to(device)

    with clock.measure("views"):
        denoiser = bind(config, settings, scene, model)
        shape = (model.latent_channels, latent_size, latent_size)
        y = noise.initial(config.seed, len(scene.cameras), shape).to(device)
        steps = model.schedule.steps(config.steps)
        strategy = strategy_of(config)
        for state in sample(y, steps, denoiser, strategy, coupling):
            y = state.y
            yield Progress("views", state.step.index + 1, state.step.total)

    yield Progress("bake", 0, 1)
    with clock.measure("decode"):
        views = model.decode(y)
    with clock.measure("bake"):
        baked = bake(scene, views, texels)
        filled = fill(baked)

    yield Progress("write", 0, 1)
    with clock.measure("write"):
        artifacts = pictures_of(config, scene, views, mesh, filled)
    artifacts["report.json"] = report(
        "texture",
        dataclasses.replace(config, **{name: getattr(settings, name) for name in OPEN}),
        clock,
        device,
        model.usage,
        model_sha256=catalogue.fingerprint(catalogue.weights(folder, controlnet)),
        rasterizer=raster.name,
        coverage=baked.coverage._asdict(),
        disagreement=baked.disagreement,
        largest_gain=max(strategy.gain(step) for step in steps),
    )
    return artifacts


def output_bytes(config: TextureConfig) -> int:
    """About what the files of a run need on disk."""
    return 3 * (3 * config.texture_size**2) + 10 * 3 * (config.view_size or 768) ** 2


def chosen(config: TextureConfig, settings: Settings) -> Settings:
    """What the model likes, except where the user said otherwise."""
    said = {name: getattr(config, name) for name in OPEN if getattr(config, name) is not None}
    return dataclasses.replace(settings, **said)


def strategy_of(config: TextureConfig) -> Strategy:
    if config.strategy == "independent":
        return Independent()
    return SyncSDE(config.inverse_lambda, config.correction, config.synchronized_share)


def bind(
    config: TextureConfig, settings: Settings, scene: Scene, model: StableDiffusion
) -> GuidedDenoiser:
    """Give every view its prompt, negative prompt and depth image (appendix A.5)."""
    prompts, unwanted = view_prompts(config, settings, scene.cameras)
    return model.guided(
        prompts,
        unwanted,
        depth_control(view_maps(scene, settings.view_size)),
        settings.guidance_scale,
        settings.control_scale,
        config.batch_size,
    )


def view_prompts(
    config: TextureConfig, settings: Settings, cameras: Sequence[Camera]
) -> tuple[list[str], list[str]]:
    """Append the viewing direction; unwanted away from the front is another front."""
    prompt, unwanted = settings.prompt_prefix + config.prompt.strip(), settings.negative_prompt
    if not config.view_prompts:
        return [prompt] * len(cameras), [unwanted] * len(cameras)
    away = f"{unwanted}, front view" if unwanted else ""
    return (
        [f"{prompt}, {camera.direction} view" for camera in cameras],
        [unwanted if camera.direction == "front" else away for camera in cameras],
    )


def pictures_of(
    config: TextureConfig, scene: Scene, views: Tensor, mesh: Mesh, texture: Tensor
) -> Artifacts:
    """The texture as PNG and GLB, every view, and one sheet of it all."""
    pixels = pictures.to_bytes(texture.movedim(-1, 0))
    images = [pictures.to_bytes(view) for view in views]
    depths = [pictures.to_bytes(depth) for depth in depth_control(view_maps(scene, SHEET_CELL))]
    renders = [pictures.to_bytes(image) for image in render(scene, texture, SHEET_CELL)]
    labels = [f"{i} {camera.direction}" for i, camera in enumerate(scene.cameras)]
    title = f"{config.prompt} | seed {config.seed} | {config.strategy} | {config.steps} steps"
    sheet = pictures.contact_sheet(
        [
            [(f"depth {label}", image) for label, image in zip(labels, depths, strict=True)],
            [(f"view {label}", image) for label, image in zip(labels, images, strict=True)],
            [(f"result {label}", image) for label, image in zip(labels, renders, strict=True)],
            [("texture", pixels)],
        ],
        title,
        SHEET_CELL,
    )
    return {
        "texture.png": pictures.png(pixels),
        "textured.glb": io.textured_glb(mesh, pixels),
        "contact_sheet.png": pictures.png(sheet),
        **{f"views/{i:02}.png": pictures.png(image) for i, image in enumerate(images)},
    }
