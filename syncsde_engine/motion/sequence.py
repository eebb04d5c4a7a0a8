# SPDX-License-Identifier: GPL-3.0-or-later
"""How segments lie in a sequence, and how one motion is made of them (section 3.3.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Join = Literal["fade", "over"]


@dataclass(frozen=True)
class Layout:
    """Segments of equal length; each begins before the one ahead of it ends."""

    count: int
    frames: int  # of a segment
    overlap: int  # frames that neighbors share

    @property
    def stride(self) -> int:
        return self.frames - self.overlap

    @property
    def total(self) -> int:
        """Frames of the whole sequence, 120 + 90 (N - 1) in the paper's setting."""
        return self.frames + self.stride * (self.count - 1)

    def begin(self, segment: int) -> int:
        """The frame of the sequence that a segment begins with."""
        return segment * self.stride

    def seam(self, segment: int) -> tuple[int, int]:
        """The frames [begin, end) that a segment shares with the next one."""
        return self.begin(segment + 1), self.begin(segment + 1) + self.overlap

    def own(self, segment: int) -> tuple[int, int]:
        """The frames [begin, end) in which a segment is told, cut at the middles of overlaps."""
        begin, end = self.begin(segment), self.begin(segment) + self.frames
        half = self.overlap // 2
        return (
            begin if segment == 0 else begin + half,
            end if segment == self.count - 1 else end - (self.overlap - half),
        )

    def ramps(self) -> np.ndarray:
        """How much each segment says at each of its frames, (N, frames); they sum to 1.

        Over an overlap of L frames the next segment's share of frame k is k / L.
        """
        weight = np.ones((self.count, self.frames))
        rise = np.arange(self.overlap) / max(self.overlap, 1)
        weight[1:, : self.overlap] = rise
        if self.overlap:
            weight[:-1, -self.overlap :] = 1 - rise
        return weight


def compose(
    segments: np.ndarray, layout: Layout, join: Join, on_top: tuple[int, ...] = ()
) -> np.ndarray:
    """One sequence (T, C) of segments (N, frames, C), features as they are.

    Args:
        join: `over`, the paper's phi: a later segment hides an earlier one; `fade`: they are
            blended over the overlap.
        on_top: segments that were made last, and with `over` hide both of their neighbors.
    """
    sequence = np.empty((layout.total, segments.shape[2]), segments.dtype)
    order = [i for i in range(layout.count) if i not in on_top] + sorted(on_top)
    for segment in order:
        begin = layout.begin(segment)
        sequence[begin : begin + layout.frames] = segments[segment]
    if join == "fade" and layout.overlap:
        rise = (np.arange(layout.overlap) / layout.overlap)[:, None].astype(segments.dtype)
        for segment in range(layout.count - 1):
            begin, end = layout.seam(segment)
            earlier, later = segments[segment, -layout.overlap :], segments[segment + 1]
            sequence[begin:end] = (1 - rise) * earlier + rise * later[: layout.overlap]
    return sequence
