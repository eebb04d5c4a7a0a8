# SPDX-License-Identifier: GPL-3.0-or-later
"""What each view of a mesh is to show: one prompt, or one for each object or material."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..config import TextureConfig
from ..errors import InvalidRequest
from ..mesh.mesh import Mesh
from ..mesh.views.cameras import Camera
from ..mesh.views.control import depth_control
from ..mesh.views.maps import ViewMaps
from ..mesh.views.scene import Scene
from ..method.regions import RegionalDenoiser, Regions, guided_rows, regions
from ..method.sampler import Denoiser
from ..models.catalog import Settings

if TYPE_CHECKING:
    from ..models.attention import Attend
    from ..models.loading import Model

log = logging.getLogger(__name__)

SHOWN_NAMES = 20  # in an error
FEW_CELLS = 16  # latent cells in which hardly anything can be seen


def view_prompts(
    config: TextureConfig, settings: Settings, cameras: Sequence[Camera], prompt: str | None = None
) -> tuple[list[str], list[str]]:
    """Append the viewing direction; unwanted away from the front is another front.

    `prompt` stands in for the run's main one.
    """
    text = settings.prompt_prefix + (prompt or config.prompt).strip()
    unwanted = settings.negative_prompt
    if not config.view_prompts:
        return [text] * len(cameras), [unwanted] * len(cameras)
    away = f"{unwanted}, front view" if unwanted else ""
    return (
        [f"{text}, {camera.direction} view" for camera in cameras],
        [unwanted if camera.direction == "front" else away for camera in cameras],
    )


def require_names(config: TextureConfig, mesh: Mesh) -> None:
    """Raise InvalidRequest for what is meant for an object or material that the mesh has not."""
    known = list(dict.fromkeys((*mesh.objects, *mesh.materials)))
    named = [("prompt_for", name, f" ({text!r})") for name, text in config.prompt_for]
    named += [("like_for", name, "") for name in config.like_for]
    for field, name, told in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
            raise InvalidRequest(
                f"{field} {name!r}{told} is no object or material of the mesh.",
                hint=(f"Do you mean {near[0]!r}? " if near else "")
                + f"It has {', '.join(map(repr, known[:SHOWN_NAMES]))}{more}.",
                field=field,
            )


def prompt_of_faces(config: TextureConfig, mesh: Mesh) -> Tensor:
    """Which prompt each face (F,) follows, int64: 0 is the main one, k the k-th of `prompt_for`.

    A name means the object and the material that are called so; later ones win.
    """
    prompt = np.zeros(len(mesh.triangles), np.int64)
    for number, (name, _) in enumerate(config.prompt_for, start=1):
        if name in mesh.objects:
            prompt[mesh.owners("object") == mesh.objects.index(name)] = number
        if name in mesh.materials:
            prompt[mesh.owners("material") == mesh.materials.index(name)] = number
    return torch.from_numpy(prompt)


def warn_of_small_parts(config: TextureConfig, parts: Regions) -> None:
    """Say which prompts have too little room in every view to be followed."""
    cells = parts.share.sum((1, 2, 3))
    for number, (name, _) in enumerate(config.prompt_for, start=1):
        most = round(max(cells[parts.prompt == number].tolist(), default=0.0))
        if most < FEW_CELLS:
            log.warning(
                "%r takes %s of a view: it may not follow its prompt; raise view_size, or add "
                "cameras that are closer",
                name,
                f"at most {most} latent cells" if most else "too little",
            )


def denoiser_of(
    config: TextureConfig,
    settings: Settings,
    model: Model,
    scene: Scene,
    maps: ViewMaps,
    attend: Attend | None,
) -> Denoiser:
    """Bind the prompts, and the depth of the views, to the model."""
    cameras = scene.cameras
    prompts, unwanted = view_prompts(config, settings, cameras)
    control = depth_control(maps)
    scale = settings.guidance_scale
    options = {"control_scale": settings.control_scale, "attend": attend}
    if not config.prompt_for:
        return model.guided(prompts, unwanted, scale, config.batch_size, control=control, **options)
    # The last entry is that of face -1, the background.
    prompt = torch.nn.functional.pad(prompt_of_faces(config, scene.mesh), (0, 1), value=-1)
    parts = regions(prompt.to(maps.face.device)[maps.face.long()], model.scale)
    texts = [prompts]
    texts += [view_prompts(config, settings, cameras, text)[0] for _, text in config.prompt_for]
    warn_of_small_parts(config, parts)
    pairs = zip(parts.view.tolist(), parts.prompt.tolist(), strict=True)
    asked = [texts[number][view] for view, number in pairs] + (unwanted if scale != 1 else [])
    rows = guided_rows(parts, scale)
    each = model.guided(asked, [], 1.0, config.batch_size, control=control[rows.view], **options)
    return RegionalDenoiser(each, rows)
