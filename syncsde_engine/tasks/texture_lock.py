# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: what is kept of an existing texture, while the rest is painted anew.

The kept part is seen from every camera and enters the synchronization as what earlier trajectories
have painted (the conditional of Eq. 10): one more trajectory for each view, whose states are known
at every noise level, comes before all others, and paints where its view shows kept texels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .. import pictures
from ..errors import InvalidRequest
from ..mesh.bake.blend import Baked
from ..mesh.bake.fill import TRUSTED, blend, by_object, distance_to, rim
from ..mesh.intake.atlas import Texture
from ..mesh.views.render import render
from ..mesh.views.scene import Scene
from ..method.coupling import Overlap
from ..method.schedule import Step, noised
from .session import Space

BACKDROP = 0.5  # behind the kept texture, as the network sees it
REACH = 0.15  # of the unit radius, over which new paint takes on the shade of what it joins


class Conditions(NamedTuple):
    """What a lock adds to a run of N views: N recorded trajectories before them."""

    overlap: Overlap  # of 2 N trajectories
    recorded: Tensor  # (steps + 1, N, C, h, w)
    starts: dict[int, Tensor]  # the noise (C, h, w) of the views, as without a lock


@dataclass(frozen=True)
class Lock:
    """Textures of which a part is kept."""

    textures: NDArray[np.uint8]  # (K, H, W, 3)
    kept: NDArray[np.bool_]  # (K, H, W)

    def conditions(
        self,
        scene: Scene,
        space: Space,
        view_size: int,
        steps: Sequence[Step],
        overlap: Overlap,
        noise: Tensor,
    ) -> Conditions:
        """Show the kept texture to the views, whose noise is (N, C, h, w).

        A pixel of a view that shows only kept texels is conditioned on them alone. Its known states
        have the noise that its own trajectory starts from.
        """
        device = noise.device
        texture = torch.from_numpy(self.textures).to(device, torch.float32) / 255
        latents = space.encode(render(scene, texture, view_size, BACKDROP)).to(noise)
        recorded = noised(latents, steps, noise)
        mask = (
            torch.from_numpy(self.kept).to(device, torch.float32)[..., None].expand(-1, -1, -1, 3)
        )
        shown = render(scene, mask.contiguous(), view_size, background=1.0)[:, :1]
        known = -torch.nn.functional.max_pool2d(-shown, space.scale) > 0.999
        starts = {len(noise) + number: state for number, state in enumerate(noise)}
        return Conditions(_behind(overlap, known.flatten()), recorded, starts)

    def onto(self, baked: Baked, *, shade: bool = True) -> Baked:
        """Put the kept texels in place of what was baked there, and shade what joins them.

        Paint of another material is not shaded: it differs by more than light.
        """
        device = baked.color.device
        place = baked.texels.place.cpu().numpy()
        kept = self.kept.reshape(-1)[place]
        color = baked.color.cpu().numpy().copy()
        old = (self.textures.reshape(-1, 3)[place] / 255).astype(np.float32)
        if shade:
            _shade(color, old, kept, baked)
        color[kept] = old[kept]
        known = torch.from_numpy(kept).to(device)
        return replace(
            baked,
            color=torch.from_numpy(color).to(device),
            weight=baked.weight.masked_fill(known, 1.0),
            trust=baked.trust.masked_fill(known, 1.0),
        )

    def restore(self, textures: Tensor) -> Tensor:
        """Finished textures (K, H, W, 3) with the kept texels, gutters included, as they were."""
        old = torch.from_numpy(self.textures).to(textures) / 255
        kept = torch.from_numpy(self.kept).to(textures.device)
        return torch.where(kept[..., None], old, textures)

    def certify(self, files: Sequence[bytes]) -> dict[str, Any]:
        """Compare the kept texels with those of the written PNG files, byte by byte."""
        changed = 0
        for content, texture, kept in zip(files, self.textures, self.kept, strict=True):
            written = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            changed += int((written != texture).any(axis=-1)[kept].sum())
        return {"compared": int(self.kept.sum()), "changed": changed}


def read_lock(inputs: Mapping[str, bytes], textures: Sequence[Texture], size: int) -> Lock | None:
    """Read `keep` and `keep_mask`, if they are given. Raises InvalidRequest.

    Kept is what is more opaque than not in the one and more white than black in the other.
    """
    if "keep" not in inputs:
        if "keep_mask" in inputs:
            raise InvalidRequest(
                "There is a mask of what to keep, but no texture.",
                hint="Give keep, the texture.",
                field="inputs.keep_mask",
            )
        return None
    if len(textures) > 1:
        raise InvalidRequest(
            f"The mesh has {len(textures)} textures, and only one can be kept.",
            hint="Send the part of the mesh that has the texture to keep.",
            field="inputs.keep",
        )
    if textures[0].uv != "own":
        raise InvalidRequest(
            "A texture can only be kept on the texture coordinates that it was made for, and the "
            "mesh's were made anew.",
            hint="Send a mesh that has its own, such as textured.glb of the run before.",
            field="inputs.keep",
        )
    layer = pictures.read_layer(inputs["keep"], "inputs.keep")
    _require_size(layer, size, "inputs.keep", "texture to keep")
    kept = layer[3] > 0.5
    if "keep_mask" in inputs:
        mask = pictures.read_mask(inputs["keep_mask"], "inputs.keep_mask")
        _require_size(mask, size, "inputs.keep_mask", "mask")
        kept &= mask > 0.5
    if kept.all():
        given = "keep_mask" in inputs
        raise InvalidRequest(
            "All of the texture would be kept.",
            hint=f"{'Paint' if given else 'Give'} keep_mask black where it is to be painted anew.",
            field="inputs.keep_mask" if given else "inputs.keep",
        )
    if not kept.any():
        raise InvalidRequest(
            "Nothing of the texture would be kept.",
            hint="Make white in keep_mask what is to stay, or leave keep out.",
            field="inputs.keep",
        )
    return Lock(pictures.to_bytes(layer[:3])[None], kept.numpy()[None])


def _require_size(picture: Tensor, size: int, field: str, what: str) -> None:
    height, width = picture.shape[-2:]
    if (height, width) != (size, size):
        raise InvalidRequest(
            f"The {what} has {width} x {height} pixels, and the new texture {size} x {size}.",
            hint=f"Set texture_size to {width}." if height == width else "It must be square.",
            field=field,
        )


def _behind(overlap: Overlap, known: Tensor) -> Overlap:
    """The overlap with as many trajectories before it, which paint all `known` (N * P) pixels.

    Those pixels look at nothing else.
    """
    known = known.to(overlap.looks.device)
    painted = torch.zeros_like(known)
    painted[overlap.looks] = True
    known = known & painted  # there is surface
    first = overlap.count * overlap.pixels
    free = ~known[overlap.looks]
    spots = known.nonzero()[:, 0]
    return replace(
        overlap,
        count=2 * overlap.count,
        looks=torch.cat([overlap.looks[free] + first, spots + first]),
        source=torch.cat([overlap.source[free] + first, spots]),
        weight=torch.cat([overlap.weight[free], torch.ones_like(spots, dtype=torch.float32)]),
    )


def _shade(
    color: NDArray[np.float32], old: NDArray[np.float32], kept: NDArray[np.bool_], baked: Baked
) -> None:
    """Take what the views say too dark or too light of kept texels out of the new ones beside."""
    texels, trust = baked.texels, baked.trust.cpu().numpy()
    error = old - color
    for mine in by_object(texels):
        donors = rim(mine[kept[mine] & (trust[mine] >= TRUSTED)], texels)
        wanted = mine[~kept[mine] & (trust[mine] > 0)]
        if len(donors) == 0 or len(wanted) == 0:
            continue
        away = distance_to(donors, wanted, texels, REACH)
        near = away < REACH
        wanted, away = wanted[near], away[near]
        if len(wanted):
            share = (1 - (away / REACH) ** 2)[:, None] ** 2
            color[wanted] += share * blend(error, donors, wanted, away, texels)
    np.clip(color, 0, 1, out=color)
