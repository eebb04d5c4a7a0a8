# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a network looks when it reads a word: soft masks from its attention (Eqs. 12, 24, 25)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention

from ..errors import InvalidRequest
from ..method.schedule import Step
from .attention import Layer

COARSE = 16 * 16  # tokens: the layers at which the authors read the words
MOST_TOKENS = 8192  # of which self-attention is kept: 256 MiB
ROWS = 1024  # of a self-attention map computed at once
TELLING = 0.1  # attention must differ by that within a picture to show where a word is


def self_attention_layers(network: Any) -> int:
    """How many self-attention layers a UNet has."""
    layers = [processor.layer for processor in network.attn_processors.values()]
    return sum(not layer.cross for layer in layers)


def columns(tokenizer: Any, prompt: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """At which places of the encoded prompt the words at `spans` (characters) stand.

    Raises InvalidRequest if a word is beyond the text encoder's window.
    """
    # Paper: the authors count words and take each for one token. Tokens never reach over the edge
    # of a word, so the text before a word has as many tokens as come before the word.
    found: set[int] = set()
    for start, end in spans:
        before, through = (
            len(tokenizer(prompt[:edge], add_special_tokens=False, verbose=False).input_ids)
            for edge in (start, end)
        )
        if through > tokenizer.model_max_length - 2:  # the text stands between two marks
            raise InvalidRequest(
                f"{prompt[start:end]!r} stands beyond the {tokenizer.model_max_length - 2} tokens "
                f"that the model reads of the source prompt {prompt!r}.",
                hint="Shorten the source prompt, or give a mask.",
                field="source_prompt",
            )
        found.update(range(before + 1, through + 1))
    return sorted(found)


class Recorder:
    """An Attend that watches, step by step, which cells look at a word and at each other.

    It keeps running sums: one map of the word, and one (tokens, tokens) map of the UNet's last
    self-attention layer, which is the finest that has attention at all.
    """

    def __init__(self, network: Any, columns: Sequence[int], size: tuple[int, int]) -> None:
        """`columns` are the word's tokens, `size` (h, w) the latent's cells."""
        self.last = self_attention_layers(network) - 1
        self.columns = list(columns)
        self.size = size
        self.steps: list[Step] = []
        self.now: list[Tensor] = []  # maps of the word in the present step, one for each layer
        self.word: Tensor | None = None  # (1, 1, h, w)
        self.own: Tensor | None = None  # (tokens, tokens)
        self.grid = size  # of `own`

    def __call__(
        self, layer: Layer, step: Step, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        if not self.steps or self.steps[-1] is not step:
            self._end_step()
            self.steps.append(step)
        height, width = self.size
        if layer.cross and query.shape[2] <= max(COARSE, height * width // 16):
            self.now.append(look_at(query, key, self.columns).view(1, 1, *self._grid(query)))
        elif not layer.cross and layer.index == self.last:
            self._watch(query, key)
        return scaled_dot_product_attention(query, key, value)

    def soft_mask(self) -> Tensor:
        """M = mean A_self * mean m_cross, (h, w) in [0, 1]: how much a cell is about the word.

        Eq. 25 as printed: a product of two means over time, not a mean of products.
        """
        self._end_step()
        assert self.word is not None
        assert self.own is not None
        count = len(self.steps)
        word = (self.word / count).clamp(0, 1)
        smooth = self.own / count @ interpolate(word, self.grid, mode="area").flatten()
        return resized(smooth.view(1, 1, *self.grid), self.size)[0, 0].clamp(0, 1)

    def _end_step(self) -> None:
        if not self.now:
            return
        finest = max((word.shape[2:] for word in self.now), key=math.prod)
        mean = torch.stack([resized(word, finest) for word in self.now]).mean(0)
        word = resized(mean / mean.max(), self.size)
        self.word = word if self.word is None else self.word + word
        self.now = []

    def _watch(self, query: Tensor, key: Tensor) -> None:
        grid = self._grid(query)
        while math.prod(grid) > MOST_TOKENS:
            query, key = (halved(part, grid) for part in (query, key))
            grid = (grid[0] // 2, grid[1] // 2)
        if self.own is None:
            self.grid = grid
            self.own = query.new_zeros(math.prod(grid), math.prod(grid), dtype=torch.float32)
        share = 1 / (query.shape[0] * query.shape[1])
        for queries, keys in zip(query.flatten(0, 1), key.flatten(0, 1), strict=True):
            for rows, some in zip(self.own.split(ROWS), queries.split(ROWS), strict=True):
                rows.add_(probabilities(some, keys), alpha=share)

    def _grid(self, query: Tensor) -> tuple[int, int]:
        """Rows and columns of a layer's tokens: the latent's, divided alike."""
        height, width = self.size
        factor = math.sqrt(height * width / query.shape[2])
        return round(height / factor), round(width / factor)


def foreground(soft: Tensor, threshold: float) -> Tensor:
    """Label the cells that are about the word 1, others 0. (h, w) -> (h, w) int64.

    Paper: Eq. 12 puts a threshold tau on the background; the authors' code puts 0.3 on the
    foreground, which is tau = 0.7. Raises InvalidRequest if all cells have the same label.
    """
    labels = (soft > threshold).long()
    if labels.min() == labels.max():
        full = bool(labels.all())
        least, most = float(soft.min()), float(soft.max())
        remedy = f"Set mask_threshold between {least:.3f} and {most:.3f}, or give a mask."
        if most - least < TELLING:
            remedy = "Give a mask: this model hardly tells where the word is."
        raise InvalidRequest(
            f"The whole image is {'fore' if full else 'back'}ground: the attention to the word is "
            f"between {least:.3f} and {most:.3f} and mask_threshold is {threshold}.",
            hint=remedy,
            field="mask_threshold",
        )
    return labels


def probabilities(query: Tensor, key: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(width)), (..., tokens, tokens of the keys) float32."""
    scale = 1 / math.sqrt(query.shape[-1])
    return torch.softmax(query.float() @ key.float().transpose(-1, -2) * scale, dim=-1)


def look_at(query: Tensor, key: Tensor, columns: Sequence[int]) -> Tensor:
    """How much each cell looks at a word: a mean over samples, heads and tokens. (tokens,)."""
    return probabilities(query, key)[..., list(columns)].mean((0, 1, 3))


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(1, 1, h, w) -> another size, bicubic; unchanged if it has it."""
    return maps if maps.shape[2:] == tuple(size) else interpolate(maps, tuple(size), mode="bicubic")


def halved(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average 2 x 2 cells: (B, heads, h * w, width) -> (B, heads, h * w / 4, width)."""
    cells = tokens.transpose(2, 3).flatten(0, 1).unflatten(-1, grid)
    pooled = avg_pool2d(cells, 2).flatten(2)
    return pooled.unflatten(0, tokens.shape[:2]).transpose(2, 3)
