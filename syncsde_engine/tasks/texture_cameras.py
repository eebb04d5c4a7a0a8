# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras of a texture run: what was asked for, in the space of the normalized mesh."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ..config import MOST_PEELED, MOST_VIEWS, TextureConfig, Viewpoint
from ..errors import InvalidRequest
from ..mesh.bake.blend import Baked
from ..mesh.mesh import Mesh, Normalization
from ..mesh.raster.rasterize import Rasterizer
from ..mesh.views.cameras import Camera, look_at, paper_cameras
from ..mesh.views.rigs import extend, framed, front_first, ring_cameras
from ..mesh.views.scene import Scene

MULTIPLE = 8  # pixels that become one latent
MOST_NAMED = 5  # objects in warnings
SPARE = 0.8  # of what may stay unseen: beside silhouettes views are not painted from

log = logging.getLogger(__name__)


class Cameras(NamedTuple):
    """In the order of the trajectories, and how much of the surface the first and all see."""

    cameras: tuple[Camera, ...]
    own: tuple[Camera, ...]  # those among them that the user has placed
    seen: list[float] | None  # share of the used texels, before and with each extra camera


def cameras_of(
    config: TextureConfig,
    mesh: Mesh,
    normalization: Normalization,
    view_size: int,
    rasterizer: Rasterizer,
) -> Cameras:
    """Build the rig for a normalized mesh with texture coordinates."""
    lens = framed(Camera(0, 0), config.fov, config.orthographic, _aspect(config.aspect, view_size))
    rig = paper_cameras() if not config.viewpoints else ()
    if config.cameras is not None:
        rig = ring_cameras(config.cameras)
    cameras = [replace(lens, azimuth=camera.azimuth, elevation=camera.elevation) for camera in rig]
    own = [
        _placed(viewpoint, number, lens, config.fov, normalization)
        for number, viewpoint in enumerate(config.viewpoints)
    ]
    cameras += own
    seen = None
    if config.extra_cameras or config.coverage is not None:
        most = config.extra_cameras or MOST_VIEWS - len(cameras)
        peel = config.peel
        if peel is None:
            peel = 0 if config.coverage is None else MOST_PEELED
        goal = None if config.coverage is None else 1 - SPARE * (1 - config.coverage)
        cameras, seen = extend(mesh, cameras, lens, most, rasterizer, peel, goal)
    if config.order == "front":
        cameras = front_first(cameras)
    return Cameras(tuple(cameras), tuple(own), seen)


def in_sight(scene: Scene, own: Sequence[Camera], normalization: Normalization) -> Scene:
    """Leave out the cameras that see nothing, as those of a rig do that a plane turns its edge to.

    Raises InvalidRequest if one of them is the user's own, or none is left.
    """
    sees = scene.depth.isfinite().any(dim=(1, 2)).tolist()
    for camera in (camera for camera, some in zip(scene.cameras, sees, strict=True) if not some):
        if camera in own:
            raise InvalidRequest(
                f"The camera at {told(camera, normalization)['position']} sees nothing of the "
                "mesh.",
                hint="Move or turn it, or leave it out.",
                field="viewpoints",
            )
    if not any(sees):
        raise InvalidRequest(
            "No camera sees anything of the mesh.",
            hint="Raise extra_cameras, which stand where there is something to see.",
            field="cameras",
        )
    if all(sees):
        return scene
    log.warning("%d of %d views show nothing and are left out", sees.count(False), len(sees))
    return scene.taken([number for number, some in enumerate(sees) if some])


def short_of(config: TextureConfig, painted: Baked, views: int) -> list[str]:
    """What to tell where less is seen than was asked for."""
    seen = painted.coverage.seen
    if config.coverage is None or seen >= config.coverage:
        return []
    asked = f"not the {config.coverage:.1%} asked for"
    sentence = f"{seen:.1%} of the texture is seen by {views} views, {asked}."
    log.warning("%s", sentence)
    return [sentence]


def warn_of_unseen(mesh: Mesh, painted: Baked) -> None:
    """Say which objects have texels, but none with paint."""
    owner = painted.texels.owner()
    count, seen = (
        torch.bincount(owners, minlength=len(mesh.objects)).tolist()
        for owners in (owner, owner[painted.weight > 0])
    )
    unseen = [
        name
        for name, have, show in zip(mesh.objects, count, seen, strict=True)
        if have and not show
    ]
    for name in unseen[:MOST_NAMED]:
        log.warning("%r is seen by no view and stays gray: paint it alone, or add cameras", name)
    if len(unseen) > MOST_NAMED:
        log.warning("So are %d further objects", len(unseen) - MOST_NAMED)


def told(camera: Camera, normalization: Normalization) -> dict[str, Any]:
    """A camera for the report, in the coordinates of the mesh as it was given."""
    center, scale = normalization
    lens = (
        {"fov": camera.fov}
        if camera.ortho_scale is None
        else {"ortho_scale": camera.ortho_scale * scale}
    )
    return {
        "direction": camera.direction,
        "azimuth": round(camera.azimuth, 4),
        "elevation": round(camera.elevation, 4),
        "position": [float(f"{x:.6g}") for x in camera.eye * scale + center],
        **({"layer": camera.layer} if camera.layer else {}),
        **lens,
    }


def _aspect(aspect: float, view_size: int) -> float:
    """The nearest aspect whose views have sides of whole latents."""
    longer = MULTIPLE * round(view_size * max(aspect, 1 / aspect) / MULTIPLE)
    return longer / view_size if aspect >= 1 else view_size / longer


def _placed(
    viewpoint: Viewpoint, number: int, lens: Camera, fov: float, normalization: Normalization
) -> Camera:
    """A user's camera among the normalized mesh. Raises InvalidRequest if it looks nowhere."""
    center, scale = normalization

    def inside(point: Sequence[float]) -> list[float]:
        return [(x - c) / scale for x, c in zip(point, center, strict=True)]

    position = inside(viewpoint.position)
    target = inside(viewpoint.look_at if viewpoint.look_at is not None else center.tolist())
    ortho_scale = viewpoint.ortho_scale / scale if viewpoint.ortho_scale is not None else None
    if ortho_scale is None and viewpoint.fov is None:
        ortho_scale = lens.ortho_scale
    try:
        camera = look_at(
            position,
            target,
            viewpoint.up,
            fov=viewpoint.fov or fov,
            ortho_scale=ortho_scale,
            aspect=lens.aspect,
        )
        return replace(camera, layer=viewpoint.layer)
    except ValueError as error:
        raise InvalidRequest(
            f"viewpoints[{number}] cannot be used: {error}.",
            hint="Choose another position, look_at or up.",
            field="viewpoints",
        ) from None
