# SPDX-License-Identifier: GPL-3.0-or-later
"""What N cameras see of a mesh: maps per view, depth control, and which pixels share a spot.

Geometry and cameras never change during a run, so going from one view through the surface into
another is a fixed list of pixel pairs (section 3.3.5 of the paper without its latent texture).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..coupling import Overlap
from . import mesh as meshes
from .cameras import Camera, clip_positions
from .mesh import Mesh
from .raster import Raster, Rasterizer
from .sight import BIAS, BIAS_PIXELS, MIN_COS, lenses, pair_pixels

DEPTH_SIZE = 1536  # side of the depth maps that decide visibility, whatever the size of the views
BLUR_SIZE = 768  # the view size at which the depth is blurred by 5 x 5, sigma 2


@dataclass(frozen=True)
class Scene:
    """A normalised mesh under its cameras, with what decides who sees what."""

    mesh: Mesh
    cameras: tuple[Camera, ...]
    rasterizer: Rasterizer
    positions: Tensor  # (V, 3) float32
    triangles: Tensor  # (F, 3) int32
    normals: Tensor  # (F, 3) float32, geometric, on the side that the cameras see more of
    depth: Tensor  # (N, D, E) float32, view depth; +inf where empty

    def frame(self, size: int) -> tuple[int, int]:
        """Rows and columns of views whose shorter side has `size` pixels: all have one aspect."""
        return self.cameras[0].frame(size)


class Rays(NamedTuple):
    """Where the pixel centres of one camera look; both broadcast to (3, H, W) float32."""

    origin: Tensor
    direction: Tensor  # of depth 1


@dataclass(frozen=True)
class ViewMaps:
    """Images of the surface at pixel centres; all 0 where empty unless said otherwise."""

    scene: Scene
    size: int  # of the shorter side
    face: Tensor  # (N, H, W) int32, -1 where empty
    depth: Tensor  # (N, H, W) float32, view depth; +inf where empty

    @property
    def coverage(self) -> Tensor:
        """Where there is surface, (N, H, W) bool."""
        return self.face >= 0

    @cached_property
    def position(self) -> Tensor:
        """Points of the surface, (N, 3, H, W) float32, in the space of the normalised mesh."""
        position = torch.empty_like(self.depth[:, None].expand(-1, 3, -1, -1))
        for camera, image, depth in zip(self.scene.cameras, position, self.depth, strict=True):
            origin, direction = (part.to(image) for part in rays_of(camera, self.size))
            torch.mul(direction, depth, out=image).add_(origin)
            image.masked_fill_(torch.isinf(depth), 0.0)
        return position

    @cached_property
    def normal(self) -> Tensor:
        """Geometric unit normals, (N, 3, H, W) float32."""
        return normal_map(self.scene, self.face)


class Sight(NamedTuple):
    """How one camera sees P points."""

    x: Tensor  # (P,) float32, fraction of the image from its left edge
    y: Tensor  # (P,) float32, fraction of the image from its top edge
    cos: Tensor  # (P,) float32, cosine between normal and viewing ray
    seen: Tensor  # (P,) bool


def observe(
    mesh: Mesh, cameras: tuple[Camera, ...], rasterizer: Rasterizer, size: int = DEPTH_SIZE
) -> Scene:
    """Look at a normalised mesh once from everywhere: depth maps of shorter side `size`, outsides.

    Winding is not trusted: a face's outside is the side that more pixels of all views see; faces
    that nobody sees, or both sides equally, keep their winding.
    """
    assert len({camera.aspect for camera in cameras}) == 1
    device = rasterizer.device
    positions = torch.tensor(mesh.positions, device=device)
    triangles = torch.tensor(mesh.triangles, device=device)
    normals = torch.tensor(meshes.normals(mesh), device=device)
    centers = positions[triangles.long()].mean(1)
    votes = torch.zeros(len(triangles), dtype=torch.int64, device=device)
    depth = []
    for camera, clip in zip(cameras, clip_positions(positions, cameras), strict=True):
        raster = rasterizer.rasterize(clip[None], triangles, camera.frame(size))
        depth.append(view_depth((camera,), raster)[0])
        pixels = torch.bincount(raster.face.flatten() + 1, minlength=len(triangles) + 1)[1:]
        toward = torch.tensor(camera.toward if camera.orthographic else camera.eye).to(positions)
        offset = 0.0 if camera.orthographic else centers
        votes += pixels * ((toward - offset) * normals).sum(1).sign().long()
    outside = torch.where(votes[:, None] < 0, -normals, normals)
    return Scene(mesh, cameras, rasterizer, positions, triangles, outside, torch.stack(depth))


def view_maps(scene: Scene, size: int) -> ViewMaps:
    """Rasterise all views, `size` pixels on their shorter side."""
    clip = clip_positions(scene.positions, scene.cameras)
    raster = scene.rasterizer.rasterize(clip, scene.triangles, scene.frame(size))
    return ViewMaps(scene, size, raster.face, view_depth(scene.cameras, raster))


def view_depth(cameras: tuple[Camera, ...], raster: Raster) -> Tensor:
    """How far before its camera each pixel's surface is, (N, H, W) float32; +inf where empty."""
    if not any(camera.orthographic for camera in cameras):
        return raster.w
    depth = raster.w.clone()
    for camera, image, z, face in zip(cameras, depth, raster.z, raster.face, strict=True):
        if camera.orthographic:
            near, far = camera.depths()
            image.copy_(((z + 1) * ((far - near) / 2) + near).where(face >= 0, torch.inf))
    return depth


def normal_map(scene: Scene, face: Tensor) -> Tensor:
    """Normals (N, 3, H, W) of the faces (N, H, W) seen, 0 where empty."""
    table = torch.nn.functional.pad(scene.normals, (0, 0, 1, 0))
    return torch.stack([table[:, axis][face + 1] for axis in range(3)], dim=1)


def object_of(scene: Scene, face: Tensor) -> Tensor:
    """The objects, int32, that faces of any shape belong to; -1 where empty."""
    owners = torch.from_numpy(np.append(scene.mesh.owners("object"), np.int32(-1)))
    return owners.to(face.device)[face.long()]  # the last entry is that of face -1


def rays_of(camera: Camera, size: int) -> Rays:
    """Viewing rays of the pixel centres of an image whose shorter side has `size` pixels."""
    axes = torch.tensor(camera.basis, dtype=torch.float32)[:, :, None, None]
    eye = torch.tensor(camera.eye, dtype=torch.float32)[:, None, None]
    x, y = (
        (2 * (torch.arange(side) + 0.5) / side - 1) / magnification
        for side, magnification in zip(
            camera.frame(size)[::-1], camera.magnification.tolist(), strict=True
        )
    )
    right, up, forward = axes
    across = right * x[None, None, :] - up * y[None, :, None]
    return Rays(eye + across, forward) if camera.orthographic else Rays(eye, forward + across)


def depth_control(maps: ViewMaps) -> Tensor:
    """The depth ControlNet's image, (N, 3, H, W) float32 in [0, 1]: near white, background black.

    Inverse depth stretched over each view's foreground, then blurred (S: mesh_renderer.py
    311-329, mesh_utils.py 69-87).
    """
    inverse = maps.depth.reciprocal()  # 0 where empty
    near = inverse.amax((1, 2), keepdim=True)
    far = inverse.masked_fill(~maps.coverage, torch.inf).amin((1, 2), keepdim=True)
    flat = near <= far
    stretched = (inverse - far) / torch.where(flat, 1.0, near - far)
    stretched = torch.where(flat, 1.0, stretched).where(maps.coverage, 0.0)
    blurred = _blur(stretched[:, None], 2 * min(maps.depth.shape[1:]) / BLUR_SIZE)
    return blurred.clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def view_to_view(
    scene: Scene, size: int, sources: Literal["average", "best"] = "average"
) -> Overlap:
    """Pair the (latent) pixels of all views that look at one spot; `size` is the shorter side.

    Pixel p of view i goes with the pixel of view j that its surface point falls into, weighted
    by the cosine under which j sees the point, unless j does not see it or the pixel centre of j
    misses the object that the point is on. Every pixel goes with itself. What earlier views paint
    is averaged by these weights, or is that of the best of them alone: the mean of several noisy
    latents has less noise in it than each of them.
    """
    maps = view_maps(scene, size)
    count, pixels = len(scene.cameras), math.prod(scene.frame(size))
    shown = object_of(scene, maps.face)
    view, pixel = (shown >= 0).flatten(1).nonzero(as_tuple=True)
    owner = shown[maps.coverage]
    position = maps.position.movedim(1, -1)[maps.coverage]
    pair = _pair_torch if pair_pixels is None or position.is_cuda else _pair_numba
    target, cosine = pair(scene, position, maps.face[maps.coverage], owner, shown)
    views = torch.arange(count, device=position.device)[:, None]
    # Every pixel goes with itself, whatever the depth test says.
    itself = views == view
    target = torch.where(itself, pixel, target)
    facing = []
    for camera, normal in zip(scene.cameras, maps.normal, strict=True):
        ray = rays_of(camera, size).direction.to(position)
        facing.append(-(ray * normal).sum(0) / ray.norm(dim=0))
    cosine = torch.where(itself, torch.stack(facing)[maps.coverage], cosine)
    j, p = (cosine > 0).nonzero(as_tuple=True)
    looks, source, weight = (view * pixels + pixel)[p], j * pixels + target[j, p], cosine[j, p]
    compose = "blend" if sources == "average" else "best"
    return Overlap(count, pixels, looks, source, weight, compose)


def _pair_torch(
    scene: Scene, position: Tensor, face: Tensor, owner: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor]:
    """The pixel of every view that shows P points, and its cosine, (N, P) each; 0 if unseen."""
    normal = scene.normals.index_select(0, face)
    targets, cosines = [], []
    height, width = shown.shape[1:]
    for camera, depth, owners in zip(scene.cameras, scene.depth, shown, strict=True):
        sight = see(camera, depth, position, normal)
        targets.append(texel(sight.y, height) * width + texel(sight.x, width))
        seen = sight.seen & (owners.flatten()[targets[-1]] == owner)
        cosines.append(sight.cos.where(seen, 0.0))
    return torch.stack(targets), torch.stack(cosines)


def _pair_numba(
    scene: Scene, position: Tensor, face: Tensor, owner: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor]:
    assert pair_pixels is not None
    target = np.zeros((len(shown), len(position)), np.int64)
    cosine = np.zeros(target.shape, np.float32)
    pair_pixels(
        position.cpu().numpy(),
        face.cpu().numpy(),
        owner.cpu().numpy(),
        scene.normals.cpu().numpy(),
        lenses(scene.cameras),
        scene.depth.cpu().numpy(),
        shown.cpu().numpy(),
        target,
        cosine,
    )
    return torch.from_numpy(target).to(position.device), torch.from_numpy(cosine).to(position)


def see(camera: Camera, depth: Tensor, position: Tensor, normal: Tensor) -> Sight:
    """Project points (P, 3) with unit normals into a view and test them against its depth map.

    The bias grows with the slope of the surface, by 1.5 pixels of the depth map (D, E).
    """
    eye, basis = (torch.tensor(array).to(position) for array in (camera.eye, camera.basis))
    offset = position - eye
    right, up, w = (offset @ basis.T).unbind(1)
    ahead = w > 0
    shrink = 1.0 if camera.orthographic else w.where(ahead, 1.0).reciprocal()
    across, along = camera.magnification.tolist()
    x, y = (1 + right * (across * shrink)) / 2, (1 - up * (along * shrink)) / 2
    ray = basis[2:] if camera.orthographic else offset
    cos = -(ray * normal).sum(1) / ray.norm(dim=1).clamp(min=1e-12)
    inside = ahead & (x >= 0) & (x < 1) & (y >= 0) & (y < 1) & (cos >= MIN_COS)
    rows, columns = depth.shape
    front = depth[texel(y, rows), texel(x, columns)]
    tangent = (1 - cos**2).clamp(min=0).sqrt() / cos.clamp(min=MIN_COS)
    bias = BIAS + BIAS_PIXELS * camera.footprint(w, min(rows, columns)) * tangent
    return Sight(x, y, cos, inside & (w <= front + bias))


def texel(fraction: Tensor, side: int) -> Tensor:
    """The row or column that holds a fraction of the image, int64 within [0, side - 1]."""
    return (fraction * side).floor().clamp(0, side - 1).long()


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, 1, H, W), cut off at sigma as in the paper's 5 x 5 for sigma 2."""
    radius = round(sigma)
    if radius == 0:
        return image
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in (2, 3):
        side = image.shape[axis]
        pad = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded = torch.nn.functional.pad(image, pad, mode="reflect")
        image = torch.zeros_like(image)
        for k, share in enumerate(kernel.tolist()):
            image.add_(padded.narrow(axis, k, side), alpha=share)
    return image
