# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts as what a UNet of Stable Diffusion's kind reads: one text encoder's words, or two's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..usage import Usage
from . import folder as parts
from .prompts import tokenize
from .tokenizers import END, TOKENS, clip_tokenizer

WIDTH_OF_SD2 = 1024  # of the words of Stable Diffusion 2, whose tokenizer pads with "!"


class Encoded(NamedTuple):
    """P prompts."""

    words: Tensor  # (P, tokens, width) float32
    pooled: Tensor | None  # (P, width of the pooled) float32; SDXL's only


class Reader(NamedTuple):
    """A text encoder and its tokenizer."""

    tokenizer: CLIPTokenizer
    network: Any  # CLIPTextModel, or CLIPTextModelWithProjection

    def tokens(self, prompts: Sequence[str], device: torch.device) -> Tensor:
        """(P, tokens) int64. What is longer than the window is cut at its end, with a warning."""
        window = self.tokenizer.model_max_length  # 1e30 in tokenizers that were not told
        window = min(window, getattr(self.network.config, "max_position_embeddings", window))
        return tokenize(self.tokenizer, prompts, window).input_ids.to(device)


class TextEncoders:
    """The text encoder of Stable Diffusion 1 and 2, or with a `second` one the two of SDXL.

    SDXL reads the last hidden states but one of both, side by side, and the second's pooled ones.
    """

    def __init__(
        self, first: Reader, second: Reader | None = None, *, empty_is_zero: bool = False
    ) -> None:
        self.first, self.second = first, second
        self.empty_is_zero = empty_is_zero  # SDXL was trained so where prompts were dropped
        for reader in filter(None, (first, second)):
            reader.network.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path, *, both: bool, dtype: torch.dtype) -> TextEncoders:
        """Load one text encoder of a diffusers folder, or both. Raises MissingWeights."""
        network = parts.network(CLIPTextModel, folder / "text_encoder", dtype=dtype)
        pad = "!" if network.config.hidden_size == WIDTH_OF_SD2 else END
        first = Reader(_tokenizer(folder / "tokenizer", network, pad), network)
        if not both:
            return cls(first)
        network = parts.network(CLIPTextModelWithProjection, folder / "text_encoder_2", dtype=dtype)
        second = Reader(_tokenizer(folder / "tokenizer_2", network, "!"), network)
        index = folder / "model_index.json"
        listed = parts.read_object(index) if index.is_file() else {}
        return cls(
            first, second, empty_is_zero=bool(listed.get("force_zeros_for_empty_prompt", True))
        )

    @property
    def width(self) -> int:
        """Of the words."""
        return sum(
            reader.network.config.hidden_size for reader in (self.first, self.second) if reader
        )

    @property
    def pooled_width(self) -> int:
        """0 without a second encoder."""
        return self.second.network.config.projection_dim if self.second else 0

    def to(self, device: torch.device) -> TextEncoders:
        for reader in filter(None, (self.first, self.second)):
            reader.network.to(device)
        return self

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], device: torch.device, usage: Usage) -> Encoded:
        """Encode each distinct prompt once."""
        distinct = list(dict.fromkeys(prompts))
        rows = [distinct.index(prompt) for prompt in prompts]
        tokens = self.first.tokens(distinct, device)
        with usage.count(device, text_encoder=len(distinct)):
            if self.second is None:
                return Encoded(self.first.network(tokens).last_hidden_state[rows], None)
            one = self.first.network(tokens, output_hidden_states=True)
            two = self.second.network(
                self.second.tokens(distinct, device), output_hidden_states=True
            )
            words = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)
            pooled = two.text_embeds
        if self.empty_is_zero and "" in distinct:
            words[distinct.index("")] = 0
            pooled[distinct.index("")] = 0
        return Encoded(words[rows], pooled[rows])


def _tokenizer(path: Path, network: Any, pad: str) -> CLIPTokenizer:
    """Load a tokenizer; CLIP's own where there is none and the network has its tokens."""
    if not path.is_dir() and network.config.vocab_size == TOKENS:
        return clip_tokenizer(pad)
    return parts.tokenizer(CLIPTokenizer, path)
