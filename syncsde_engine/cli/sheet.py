# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of a comparison: a row for each variant, a column for each seed.

With one seed only, variants stand beside each other as far as there is room.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .. import pictures
from ..tasks import Artifacts

Cell = tuple[str, np.ndarray | None]  # label, (H, W, 3) uint8 or None for a run that failed
SIDE = 256  # pixels of the shorter side of a picture, unless
LONGEST = 768  # its longer side would have more
WIDEST = 1600  # pixels of a row of variants
IMAGE, SHEET = "image.png", "contact_sheet.png"
TEXTURE, VIEWS = "texture.png", 3  # shown of a texture run, front first


def picture(artifacts: Artifacts) -> np.ndarray:
    """How a run ended: a texture and its first views, an image in all its views, or it."""
    views = tuple(sorted(name for name in artifacts if name.startswith("views/")))
    alone = IMAGE if IMAGE in artifacts else SHEET  # of a motion
    names = (TEXTURE, *views[:VIEWS]) if TEXTURE in artifacts else views or (alone,)
    parts = [thumbnail(artifacts[name]) for name in names]
    return np.concatenate(parts, axis=1)


def thumbnail(content: bytes) -> np.ndarray:
    """A picture of ours at the size it is shown with, (H, W, 3) uint8."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = min(SIDE / min(image.size), LONGEST / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def draw(rows: Sequence[Sequence[Cell]], title: str) -> bytes:
    """The sheet as PNG."""
    shape = next(cell.shape for row in rows for _, cell in row if cell is not None)
    nothing = np.full(shape, 64, np.uint8)
    shown = [[(label, nothing if cell is None else cell) for label, cell in row] for row in rows]
    if all(len(row) == 1 for row in shown):
        across = max(1, WIDEST // shape[1])
        cells = [cell for row in shown for cell in row]
        shown = [cells[start : start + across] for start in range(0, len(cells), across)]
    return pictures.png(pictures.contact_sheet(shown, title, max(shape)))
