# SPDX-License-Identifier: GPL-3.0-or-later
"""Attention inside the networks: words projected once, and a place to step in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..method.schedule import Step

# pyright: reportIncompatibleMethodOverride=false
# A tuple's method `index` is nothing that a Layer needs.

ORDER_OF_USE = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}


class Layer(NamedTuple):
    """One attention layer of a network."""

    name: str
    index: int  # among the layers of its kind, in order of use; a block's two layers share it
    cross: bool  # to the words of the prompt, or else of the picture to itself


class Attend(Protocol):
    """What happens between a UNet layer's projections; by default, fused attention.

    One that mixes trajectories needs all of them in one batch: it has an attribute `mixes`, True.
    """

    def __call__(
        self, layer: Layer, step: Step, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """(B, heads, tokens, width) three times -> as `query`.

        B counts the trajectories' unwanted halves, then their wanted ones; without guidance the
        latter only. Keys and values of a cross layer have the tokens of the text.
        """
        ...


KeysValues = tuple[Tensor, Tensor]  # (P, heads, tokens, width) each


class Words(NamedTuple):
    """The prompts of a batch, as the cross-attention layers of one network see them."""

    projected: Mapping[str, KeysValues]  # P distinct prompts, by layer name
    rows: Tensor  # (B,) int64: which prompt each sample has
    pooled: Tensor | None = None  # (P, width): the prompts as SDXL's second encoder sums them up


class Processor:
    """diffusers' interface to one attention layer of a transformer block; it holds no state.

    The network gets `words`, `attend` and `step` through its `cross_attention_kwargs`.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        *,
        words: Words,
        attend: Attend | None = None,
        step: Step | None = None,
    ) -> Tensor:
        query = _split_heads(attn, attn.to_q(hidden_states))
        if self.layer.cross:
            keys, values = words.projected[self.layer.name]
            key, value = keys[words.rows], values[words.rows]
        else:
            key, value = _keys_values(attn, hidden_states)
        if attend is None:
            mixed = scaled_dot_product_attention(query, key, value)
        else:
            assert step is not None
            mixed = attend(self.layer, step, query, key, value)
        assert attn.to_out is not None
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


def take_over(network: Any) -> None:
    """Put a Processor on every attention layer of a UNet or ControlNet."""
    counted = {True: 0, False: 0}
    for name, attn in _attention_layers(network).items():
        cross = bool(attn.is_cross_attention)
        attn.set_processor(Processor(Layer(name, counted[cross], cross)))  # pyright: ignore[reportArgumentType]
        counted[cross] += 1


def require_plain(network: Any) -> None:
    """Raise ValueError if a network has attention layers that a Processor does not compute."""
    extras = ("group_norm", "spatial_norm", "norm_cross", "norm_q", "norm_k", "added_kv_proj_dim")
    for name, attn in _attention_layers(network).items():
        if attn.residual_connection or any(getattr(attn, extra, None) for extra in extras):
            raise ValueError(f"its attention layer {name} is none of Stable Diffusion's")


def project(network: Any, words: Tensor) -> dict[str, KeysValues]:
    """Project encoded prompts (P, tokens, width) for all cross-attention layers; differentiable."""
    words = words.to(network.dtype)
    return {
        name: _keys_values(attn, words)
        for name, attn in _attention_layers(network).items()
        if attn.is_cross_attention
    }


@dataclass(frozen=True)
class Ring:
    """Views attend to their neighbors and, while the noise is high, to one view for all.

    SyncMVD (arXiv:2311.12891): out = (near + r * reference) / (1 + r), in every self-attention
    layer of the UNet; near is attention to all the neighbors' tokens at once.

    Paper: the authors' mesh code has it on, although a trajectory then depends on later ones and
    the chain of section 3.2 no longer holds; ours has it off unless it is asked for.
    """

    neighbors: Sequence[Sequence[int]]  # of every view, usually with itself among them
    reference: int  # the view that all look at
    weight: float = 1.0  # r
    above: float = 0.8  # of the noise range: below that the reference is left out

    mixes = True

    def __call__(
        self, layer: Layer, step: Step, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        if layer.cross:
            return scaled_dot_product_attention(query, key, value)
        count = len(self.neighbors)
        query, key, value = (part.unflatten(0, (-1, count)) for part in (query, key, value))
        weight = self.weight if step.time > self.above else 0.0
        mixed = []
        # One view at a time: the keys and values gathered for all at once need several times the
        # memory of the layer.
        for view, near in enumerate(self.neighbors):
            looking = query[:, view]
            seen = scaled_dot_product_attention(looking, _gather(key, near), _gather(value, near))
            if weight:
                told = scaled_dot_product_attention(
                    looking, key[:, self.reference], value[:, self.reference]
                )
                seen = (seen + weight * told) / (1 + weight)
            mixed.append(seen)
        return torch.stack(mixed, dim=1).flatten(0, 1)


def _gather(tokens: Tensor, views: Sequence[int]) -> Tensor:
    """(halves, N, heads, tokens, width) -> (halves, heads, len(views) * tokens, width)."""
    return torch.cat([tokens[:, view] for view in views], dim=-2)


def _attention_layers(network: Any) -> dict[str, Attention]:
    """Every attention layer by name, in the order in which a forward pass meets them."""
    found = [(name, part) for name, part in network.named_modules() if isinstance(part, Attention)]
    return dict(sorted(found, key=lambda entry: ORDER_OF_USE[entry[0].split(".")[0]]))


def _keys_values(attn: Attention, tokens: Tensor) -> KeysValues:
    assert attn.to_k is not None
    assert attn.to_v is not None
    return _split_heads(attn, attn.to_k(tokens)), _split_heads(attn, attn.to_v(tokens))


def _split_heads(attn: Attention, tokens: Tensor) -> Tensor:
    """(B, tokens, heads * width) -> (B, heads, tokens, width)."""
    return tokens.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
