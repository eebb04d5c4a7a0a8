# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that see noisy motion and tell the clean one, (B, 263, 1, F), in standard deviations."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

LONGEST = 1024  # frames, or timesteps, that have a position


class MotionNetwork(Protocol):
    def __call__(self, y: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """(B, C, 1, F) noisy, (B,) int64, (B, K) float -> the clean motion, (B, C, 1, F)."""
        ...


def sinusoids(length: int, width: int) -> Tensor:
    """Positions as sines and cosines, (length, width) float32."""
    position = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table


class TimestepEmbedder(nn.Module):
    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.register_buffer("pe", sinusoids(max(steps, LONGEST), width), persistent=False)
        self.pe: Tensor

    def forward(self, timestep: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        return self.time_embed(self.pe[timestep])


class Poses(nn.Module):
    """A linear layer with the name it has in MDM's checkpoints."""

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.add_module(name, nn.Linear(inputs, outputs))
        self._name = name

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self._name)(x)


class Mdm(nn.Module):
    """MDM's encoder (arXiv:2209.14916), with the parameters of its checkpoints.

    A token for each frame, and one in front for timestep and text; text is a CLIP vector, zeros
    stand for none.
    """

    HEADS, FEED_FORWARD = 4, 1024  # fixed in MDM's code

    def __init__(
        self,
        channels: int = 263,
        width: int = 512,
        layers: int = 8,
        text_width: int = 512,
        steps: int = 1000,
    ) -> None:
        super().__init__()
        self.input_process = Poses("poseEmbedding", channels, width)
        layer = nn.TransformerEncoderLayer(
            width, self.HEADS, self.FEED_FORWARD, dropout=0.1, activation="gelu"
        )
        self.seqTransEncoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.embed_timestep = TimestepEmbedder(width, steps)
        self.embed_text = nn.Linear(text_width, width)
        self.output_process = Poses("poseFinal", width, channels)
        self.register_buffer("positions", sinusoids(LONGEST, width), persistent=False)
        self.positions: Tensor

    def forward(self, y: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        frames = self.input_process(y[:, :, 0].permute(2, 0, 1))  # (F, B, width)
        condition = self.embed_timestep(timestep) + self.embed_text(text)
        tokens = torch.cat([condition[None], frames])
        tokens = tokens + self.positions[: len(tokens), None]
        seen = self.seqTransEncoder(tokens)[1:]
        return self.output_process(seen).permute(1, 2, 0)[:, :, None]


class Block(nn.Module):
    """A layer of a transformer whose norms are scaled and shifted by the condition."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.condition = nn.Linear(width, 4 * width)
        self.attend = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift, scale_2, shift_2 = self.condition(condition)[:, None].chunk(4, dim=-1)
        count, length, width = x.shape
        mixed = self.attend(self.norms[0](x) * (1 + scale) + shift)
        q, k, v = mixed.view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.join(seen.transpose(1, 2).reshape(count, length, width))
        return x + self.feed_forward(self.norms[1](x) * (1 + scale_2) + shift_2)


class Mime(nn.Module):
    """A small transformer with one token for several frames; text is a bag of known words.

    A token sees and tells twice as many frames as it stands for, and what neighbors tell of a frame
    is blended: without that, motion jumps from token to token.
    """

    def __init__(
        self,
        words: int,
        channels: int = 263,
        width: int = 160,
        layers: int = 4,
        heads: int = 4,
        feed_forward: int = 480,
        together: int = 5,
        steps: int = 50,
    ) -> None:
        super().__init__()
        self.together = together  # frames of a token
        self.input = nn.Linear(channels * 2 * together, width)
        self.embed_timestep = TimestepEmbedder(width, steps)
        self.embed_text = nn.Sequential(nn.Linear(words, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, channels * 2 * together)
        rise = torch.sin((torch.arange(2 * together) + 0.5) * math.pi / (2 * together)) ** 2
        self.register_buffer("share", rise, persistent=False)
        self.share: Tensor
        self.register_buffer("positions", sinusoids(LONGEST, width), persistent=False)
        self.positions: Tensor

    def forward(self, y: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        frames = y.shape[-1]
        before = self.together // 2
        margin = (before, self.together - before)
        blocks = self._blocks(nn.functional.pad(y[:, :, 0], margin, mode="replicate"))
        x = self.input(torch.cat([blocks[:, :-1], blocks[:, 1:]], dim=3).flatten(2))
        x = x + self.positions[: x.shape[1]]
        condition = nn.functional.silu(self.embed_timestep(timestep) + self.embed_text(text))
        for block in self.blocks:
            x = block(x, condition)
        told = self.output(self.norm(x)).unflatten(-1, (-1, 2 * self.together))
        clean = self._blended(told * self.share) / self._blended(self.share.expand_as(told[:1]))
        return clean[:, :, None, before : before + frames]

    def _blocks(self, y: Tensor) -> Tensor:
        """(B, C, F) -> (B, F / together, C, together)."""
        return y.unflatten(-1, (-1, self.together)).transpose(1, 2)

    def _blended(self, told: Tensor) -> Tensor:
        """Add up what tokens (B, T, C, 2 together) tell of (T + 1) together frames. (B, C, F)."""
        first, second = told.chunk(2, dim=3)
        nothing = torch.zeros_like(first[:, :1])
        blocks = torch.cat([first, nothing], dim=1) + torch.cat([nothing, second], dim=1)
        return blocks.transpose(1, 2).flatten(2)
