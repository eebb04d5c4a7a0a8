# SPDX-License-Identifier: GPL-3.0-or-later
"""Colors for what no view saw: the nearest trusted texels on the surface, then gutters.

Paper: fills by nearest texel in texture space (Voronoi, section 7.7), which takes colors from
unrelated charts that happen to lie beside. Nearest in space on the same side does not. And it
trusts what it saw least, the last pixels before a silhouette, with all that lies behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from torch import Tensor

from ...memory import give_back
from .blend import Baked
from .nearest import nearest_chosen
from .texels import Texels

# Views that are synchronized by their latents end in a halo of what lies behind. Texels of less
# trust than this are no donors, and turn into what would be filled there.
TRUSTED = 1 / 16
NEIGHBORS = (1, 4, 32)  # candidates; each number for points that are refused all before
GRAY = 0.5  # of a surface that nobody saw at all
CELL = 0.02  # of the unit radius: smooth filling averages donors in cells of at least this size
CELLS = 8  # that it then blends

STRIP = 256  # rows of gutters at once
CHUNK = 1 << 16  # texels to fill at once

Colors = NDArray[np.float32]
Index = NDArray[np.integer]  # int32 for most texels of a texture, for their size in memory
Points = NDArray[np.float64]
Floats = NDArray[np.floating]


def fill(baked: Baked, how: Literal["smooth", "surface", "uv"] = "smooth") -> Tensor:
    """Complete baked textures, (K, H, W, 3) float32: unseen surface first, then all gutters.

    Surface takes the color of the nearest donor, smooth blends several, uv is the paper's way. No
    donor is ever of another object.
    """
    color, texels = baked.color.cpu().numpy(), baked.texels
    if how == "uv":
        found = fill_uv(color, baked.weight.cpu().numpy() > 0, texels)
    else:
        found = fill_surface(color, baked.trust.cpu().numpy(), texels, smooth=how == "smooth")
    found = list(found)  # before there are images, as large as what finding takes
    give_back()
    texture = texels.spread(baked.color).cpu()
    flat, place = texture.view(-1, 3).numpy(), texels.place.cpu().numpy()
    for wanted, values in found:
        flat[place[wanted]] = values
    used = texels.spread(torch.ones_like(texels.place, dtype=torch.bool)).cpu()
    for image, chart in zip(texture, used, strict=True):
        fill_gutters(image.numpy(), chart.numpy())
    return texture.to(baked.color.device)


def fill_surface(
    color: Colors, trust: NDArray[np.float32], texels: Texels, *, smooth: bool = False
) -> Iterator[tuple[Index, Colors]]:
    """Texels (W,) that are not trusted and their new colors (W, 3), one object after another.

    Args:
        color: (T, 3) of all texels.
        trust: (T,) in them. From TRUSTED on a texel gives its color to others and keeps its own;
            below, its own color counts for less the less it is trusted.
    """
    for mine in by_object(texels):
        trusted = trust[mine] >= TRUSTED
        if not trusted.any():
            trusted = trust[mine] > 0
        donors, wanted = mine[trusted], mine[~trusted]
        del mine, trusted  # as large as all texels together
        if len(donors) == 0:
            yield wanted, np.full((len(wanted), 3), GRAY, np.float32)
        elif len(wanted):
            donors = rim(donors, texels)
            if smooth:
                found = _smoothly(color, donors, wanted, texels)
            else:
                found = color[nearest_donors(donors, wanted, texels)]
            halo = np.flatnonzero(trust[wanted])
            own = (trust[wanted[halo]] / TRUSTED)[:, None] ** 0.25
            found[halo] += own * (color[wanted[halo]] - found[halo])
            yield wanted, found


def _smoothly(color: Colors, donors: Index, wanted: Index, texels: Texels) -> Colors:
    """Colors (W, 3) of wanted texels, from the nearest donor over into the blend of many.

    The blend changes so little from texel to texel that every other texel of every other row is
    enough; between, it is the mean of the four around. Among four that are away from all donors the
    nearest is of no interest.
    """
    place = texels.place.cpu().numpy()
    found = np.empty((len(wanted), 3), np.float32)

    def spot(some: Index) -> tuple[Index, Index]:
        return np.divmod(place[wanted[some]], texels.size)

    def look(some: Index) -> tuple[Colors, Colors, Floats]:
        """Where texels are, the color of the nearest donor, and how far away that is."""
        here, nearest = points(texels, wanted[some]), nearest_donors(donors, wanted[some], texels)
        return here, color[nearest], np.linalg.norm(here - points(texels, nearest), axis=1)

    between = np.zeros(len(wanted), bool)
    for part in _parts(np.arange(len(wanted), dtype=np.int32)):
        row, column = spot(part)
        between[part] = (row | column) & 1
    coarse = np.flatnonzero(~between)
    seats, single, away = look(coarse)
    many = blend(color, donors, wanted[coarse], away, texels)
    found[coarse] = _mixed(single, many, away)
    number = np.full((texels.textures * texels.size // 2 + 1, texels.size // 2 + 1), -1, np.int32)
    for part in _parts(np.arange(len(coarse), dtype=np.int32)):
        row, column = spot(coarse[part])
        number[row // 2, column // 2] = part
    near, alone = [], []
    for part in _parts(np.flatnonzero(between)):
        row, column = spot(part)
        corners = [(y // 2, x // 2) for y in (row, row + 1) for x in (column, column + 1)]
        beside = np.stack([number[corner] for corner in corners])  # (4, P)
        apart = np.linalg.norm(points(texels, wanted[part]) - seats[beside], axis=2)
        joined = ((beside >= 0) & (apart < CELL)).all(axis=0)
        found[part[joined]] = many[beside[:, joined]].mean(axis=0)
        near.append(part[joined & (away[beside] <= 2 * CELL).any(axis=0)])
        alone.append(part[~joined])
    near, alone = np.concatenate(near), np.concatenate(alone)
    for some in (near, alone):
        if len(some):
            _, single, away = look(some)
            if some is alone:
                found[some] = blend(color, donors, wanted[some], away, texels)
            found[some] = _mixed(single, found[some], away)
    return found


def _mixed(single: Colors, many: Colors, away: Floats) -> Floats:
    return single + np.clip(away / (2 * CELL), 0, 1)[:, None] * (many - single)


def nearest_donors(donors: Index, wanted: Index, texels: Texels) -> Index:
    """For each wanted texel the nearest donor that faces the same way, or else the nearest."""
    face, normals = texels.face.cpu().numpy(), texels.normals.cpu().numpy()
    tree = KDTree(points(texels, donors), compact_nodes=False, balanced_tree=False)
    chosen = np.empty_like(wanted)
    rest = np.arange(len(wanted))
    for candidates in NEIGHBORS:
        refused = []
        for part in _parts(rest):
            texel, several = wanted[part], min(candidates, len(donors))
            _, nearest = tree.query(points(texels, texel), k=several, workers=-1)
            nearest = donors[np.reshape(nearest, (len(texel), -1))]
            same_side = np.einsum("tkc,tc->tk", normals[face[nearest]], normals[face[texel]]) > 0
            best = same_side.argmax(axis=1)[:, None]
            chosen[part] = np.take_along_axis(nearest, best, axis=1)[:, 0]
            refused.append(part[~same_side.any(axis=1)])
        rest = np.concatenate(refused)
        if len(rest) == 0:
            break
    return chosen


def fill_uv(
    color: Colors, painted: NDArray[np.bool_], texels: Texels
) -> Iterator[tuple[Index, Colors]]:
    """As `fill_surface`, from the nearest of those `painted` (T,) in the texture."""
    place, area = texels.place.cpu().numpy(), texels.size**2
    for mine in by_object(texels):
        for k in np.unique(place[mine] // area):
            here = mine[place[mine] // area == k]
            donors, wanted = here[painted[here]], here[~painted[here]]
            if len(donors) == 0:
                yield wanted, np.full((len(wanted), 3), GRAY, np.float32)
                continue
            number = np.full(area, -1)
            number[place[donors] - k * area] = donors
            number = number.reshape(texels.size, texels.size)
            row, column = nearest_chosen(number >= 0)
            spot = np.divmod(place[wanted] - k * area, texels.size)
            yield wanted, color[number[row[spot], column[spot]]]


def fill_gutters(texture: Colors, used: NDArray[np.bool_]) -> None:
    """Extend the charts over an image (H, W, 3), in place, so that filtering shows no seams."""
    if used.any() and not used.all():
        row, column = nearest_chosen(used)
        for strip in range(0, len(texture), STRIP):  # what is gathered at once stays small
            here = slice(strip, strip + STRIP)
            free = ~used[here]
            texture[here][free] = texture[row[here][free], column[here][free]]


def by_object(texels: Texels) -> Iterator[Index]:
    """The texels of each object."""
    owner = texels.owner().cpu().numpy()
    if (owner == owner[0]).all():
        yield np.arange(len(owner), dtype=np.int32)
        return
    order = np.argsort(owner, kind="stable").astype(np.int32)
    yield from np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)


def distance_to(donors: Index, wanted: Index, texels: Texels, limit: float) -> NDArray[np.float64]:
    """How far each wanted texel is from the nearest donor; infinite from `limit` on."""
    tree = KDTree(points(texels, donors), compact_nodes=False, balanced_tree=False)
    return tree.query(points(texels, wanted), distance_upper_bound=limit, workers=-1)[0]


def points(texels: Texels, some: Index) -> Colors:
    """Where on the surface some texels are, (., 3)."""
    return texels.position(torch.from_numpy(some)).cpu().numpy()


def rim(donors: Index, texels: Texels) -> Index:
    """The donors on the edge of the painted region.

    The nearest point of a painted region lies there: it is 0.06 % farther than among all of them.
    """
    image = np.zeros((texels.textures, texels.size, texels.size), bool)
    flat, place = image.reshape(-1), texels.place.cpu().numpy()
    for part in _parts(donors):
        flat[place[part]] = True
    image ^= ndimage.binary_erosion(image, np.ones((1, 3, 3)))
    return np.concatenate([part[flat[place[part]]] for part in _parts(donors)])


def blend(color: Colors, donors: Index, wanted: Index, away: Floats, texels: Texels) -> Colors:
    """A smooth field around the donors, coarser the farther `away` (W,) a texel is from them.

    Level l is Shepard's interpolation (its local form) of means over cells of 2**l CELL; a texel
    blends the two levels whose cells are about half as large as its distance.
    """
    seats = points(texels, donors)
    level = np.log2(np.maximum(away / (2 * CELL), 1))
    blended = np.zeros((len(wanted), 3), np.float32)
    for coarse in range(int(level.max()) + 2):
        share = np.maximum(1 - np.abs(level - coarse), 0)
        here = np.flatnonzero(share)
        if len(here) == 0:
            continue
        centers, means = _cells(seats, color[donors], CELL * 2**coarse)
        among = min(CELLS, len(centers))
        tree = KDTree(centers)
        for part in _parts(here):
            distance, nearest = tree.query(points(texels, wanted[part]), k=among, workers=-1)
            distance = np.maximum(np.reshape(distance, (len(part), among)), 1e-9)
            nearest = np.reshape(nearest, (len(part), among))
            reach = 1.0001 * distance[:, -1:]
            weight = ((reach - distance) / (reach * distance)) ** 2
            weight *= (share[part] / weight.sum(axis=1))[:, None]
            blended[part] += np.einsum("tk,tkc->tc", weight, means[nearest])
    return blended


def _parts(numbers: Index) -> list[Index]:
    """Few enough at once."""
    return [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)] or [numbers]


def _cells(position: Colors, color: Colors, size: float) -> tuple[Points, Points]:
    """Mean position and color of all points that lie in one cell of a grid."""
    cell = np.floor(position / size).astype(np.int64) + 1024
    _, number = np.unique(cell @ [1, 2048, 2048**2], return_inverse=True)
    count = np.bincount(number)
    means = [
        np.stack([np.bincount(number, column) / count for column in values.T], axis=1)
        for values in (position, color)
    ]
    return means[0], means[1]
