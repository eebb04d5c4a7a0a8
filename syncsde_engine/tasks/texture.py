# SPDX-License-Identifier: GPL-3.0-or-later
"""Mesh texturing: depth-controlled views, synchronized where they see the same surface.

Section 3.3.5 and appendix A.5 of the paper, Eqs. 18 and 19.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..config import MOST_VIEWS, TextureConfig
from ..memory import give_back
from ..mesh.bake.blend import bake
from ..mesh.bake.fill import fill
from ..mesh.bake.seams import density, seams
from ..mesh.bake.texels import used_texels
from ..mesh.files import io
from ..mesh.intake.take_in import take_in
from ..mesh.raster.rasterize import rasterizer
from ..mesh.views.maps import view_maps
from ..mesh.views.pairs import view_to_view
from ..mesh.views.rigs import front, neighbors
from ..mesh.views.scene import Scene, observe
from ..method.coupling import Overlap
from ..models.catalog import Settings
from ..models.exemplar import Exemplar
from ..preview import side_by_side
from . import Artifacts, Progress
from .likeness import likenesses
from .session import Session
from .texture_cameras import cameras_of, in_sight, short_of, told, warn_of_unseen
from .texture_files import files_of, texture_files
from .texture_given import Given, read_given
from .texture_laid import painted
from .texture_likeness import finished, parts_of, scale_of
from .texture_lock import Lock, read_lock
from .texture_maps import Images, images_of, maps_told, names_of
from .texture_prompts import denoiser_of, require_names

OPEN = ("guidance_scale", "control_scale", "view_size", "negative_prompt")  # the model's by default


def run(config: TextureConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Texture a mesh, yielding after every step. Returns the files of the finished run.

    Raises InvalidMesh, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    given = io.from_safetensors(inputs["mesh"])
    require_names(config, given)

    yield Progress("load", 0, 1)
    like = likenesses(config, inputs)
    exemplar = None if like is None else Exemplar([each.picture for each in like.each])
    session = Session("texture", config, control=True, exemplar=exemplar)
    space, settings = session.space, chosen(config, session.settings)

    yield Progress("geometry", 0, 1)
    with session.clock.measure("geometry"):
        raster = rasterizer(config.rasterizer, session.device)
        mesh = take_in(given, config.uv, config.texture_size)
        lock = read_lock(inputs, mesh.textures, config.texture_size)
        rig = cameras_of(config, mesh.work, mesh.normalization, settings.view_size, raster)
        numbered = in_sight(observe(mesh.work, rig.cameras, raster), rig.own, mesh.normalization)
        given_views = read_given(config, inputs, numbered, settings.view_size)
        scene = numbered if given_views is None else numbered.taken(given_views.order)
        cameras = scene.cameras
        texels = used_texels(scene, config.texture_size)
        if exemplar is not None and like is not None:
            exemplar.scale = scale_of(
                config, like, cameras, settings.view_size, exact=lock is not None
            )
        latent_size = settings.view_size // space.scale
        overlap = view_to_view(scene, latent_size, config.sources)
        maps = view_maps(scene, settings.view_size)

    size = scene.frame(latent_size)
    if exemplar is not None and like is not None:
        with session.clock.measure("lists"):
            parts = parts_of(config, like, scene, latent_size, exemplar.scale)
            denoiser = exemplar.lay(list(parts.values()))
        session.results["materials"] = like.report()
        decode = partial(finished, exemplar, maps)
        paint = partial(painted, config, exemplar, like, parts, overlap)
    else:
        from ..models.attention import Ring  # imports diffusers

        made = maps if given_views is None else maps.taken(given_views.others)
        attend = None
        if config.shared_attention == "ring":
            attend = Ring(neighbors(made.scene.cameras), front(made.scene.cameras))
        denoiser = denoiser_of(config, settings, session.model, made.scene, made, attend)
        decode, paint = session.model.decode, None
    options: dict[str, Any] = {"reference": "training"}
    if lock is not None or given_views is not None:
        noise = session.initial((len(cameras), space.channels, *size), inputs)
        with session.clock.measure("encode"):
            overlap, known = conditions(session, lock, given_views, scene, settings, overlap, noise)
        options |= known
        inputs = {}  # the noise in it is taken
    y = yield from session.synchronize(denoiser, overlap, size, inputs, **options)
    y = y[-len(cameras) :]

    yield Progress("bake", 0, 1)
    with session.clock.measure("decode"):
        views = decode(y)
    if given_views is not None:  # they are as given, and all have their numbers again
        views = given_views.back(views)
        scene, maps = numbered, maps.taken(given_views.places)
        cameras = scene.cameras
    with session.clock.measure("bake"):
        give_back()
        baked = bake(scene, views, texels, maps)
        give_back()
        whole = baked if lock is None else lock.onto(baked)
        warn_of_unseen(mesh.work, whole)
        mesh.report["warnings"] += short_of(config, baked, len(cameras))
        beside: Images = {}
        if paint is not None and like is not None:
            laid, layers = paint(baked, y)
            beside = images_of(names_of(like), laid, layers, config.fill)
            whole = laid if lock is None else lock.onto(laid, shade=False)
        filled = fill(whole, config.fill)
        if lock is not None:
            filled = lock.restore(filled)

    yield Progress("write", 0, 1)
    with session.clock.measure("write"):
        subject = config.prompt.strip() or (f"like {like.main.name}" if like else "")
        title = f"{subject} | seed {config.seed} | {config.strategy} | {config.steps} steps"
        files, notes = files_of(scene, views, mesh.whole, filled, title, beside)
        mesh.report["warnings"] += notes
    names = texture_files(mesh.whole.textures)
    unit = mesh.normalization.scale
    session.results |= {
        "rasterizer": raster.name,
        "mesh": mesh.report,
        "textures": dict(zip(mesh.whole.textures, names, strict=True)),
        **({} if like is None or not beside else maps_told(config, like, mesh, beside)),
        "cameras": [told(camera, mesh.normalization) for camera in cameras],
        **({"seen_with_extra_cameras": rig.seen} if rig.seen else {}),
        "coverage": baked.coverage._asdict(),
        **({} if given_views is None else {"given_views": sorted(config.view_for)}),
        **({} if lock is None else {"kept": lock.certify([files[name] for name in names])}),
        "disagreement": baked.disagreement,
        "seams": seams(mesh.work, whole, filled)._asdict(),
        "texel_density": density(mesh.work, config.texture_size, unit)._asdict(),
    }
    return session.finish(files, **{name: getattr(settings, name) for name in OPEN})


def conditions(
    session: Session,
    lock: Lock | None,
    given_views: Given | None,
    scene: Scene,
    settings: Settings,
    overlap: Overlap,
    noise: Tensor,
) -> tuple[Overlap, dict[str, Any]]:
    """What is known beforehand, as trajectories that come first: the overlap and the sampler's
    options with them.

    `noise` (N, C, h, w) is that of the views in the order of their numbers.
    """
    recorded, count = [], len(noise)
    if given_views is not None:
        noise = noise[given_views.order]
    starts = dict(enumerate(noise))
    if lock is not None:
        overlap, known, starts = lock.conditions(
            scene, session.space, settings.view_size, session.steps, overlap, noise
        )
        recorded.append(known)
    if given_views is not None:
        first = noise[: len(given_views)]
        recorded.append(given_views.recorded(session.space, session.steps, first))
    return overlap, {
        "recorded": torch.cat(recorded, dim=1),
        "starts": starts,
        "picture": lambda states: side_by_side(states[-count:]),
    }


def output_bytes(config: TextureConfig) -> int:
    """About what the files of a run need on disk."""
    views = (config.cameras or 10) + len(config.viewpoints) + config.extra_cameras
    if config.coverage is not None and not config.extra_cameras:
        views = MOST_VIEWS
    pixels = (config.view_size or 768) ** 2 * max(config.aspect, 1 / config.aspect)
    return 3 * (3 * config.texture_size**2) + round(views * 3 * pixels)


def chosen(config: TextureConfig, settings: Settings) -> Settings:
    """What the model likes, except where the user said otherwise."""
    said = {name: getattr(config, name) for name in OPEN if getattr(config, name) is not None}
    return dataclasses.replace(settings, **said)
