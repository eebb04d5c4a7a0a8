# SPDX-License-Identifier: GPL-3.0-or-later
"""Every number of a training run in one place. A run keeps its plan, so resuming cannot drift."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from .checkpoint import replace_file

PAINTS = 6  # pictures of one view, each in another material


@dataclass(frozen=True)
class Plan:
    """Steps count optimizer steps; each stage ends with a cool-down of its learning rate."""

    seed: int = 1
    # data
    images: int = 12_000  # six of each view: 5.6 GB
    shard: int = 240
    size: int = 384  # pixels of a rendered view, the size mini is made for
    workers: int = 1
    held_back: int = 240  # last images, for validation only
    # shares of the kinds object, wall, landscape, front (an object before a wall or landscape)
    rendered: tuple[float, ...] = (0.65, 0.12, 0.12, 0.11)
    # text
    vocabulary: int = 900
    text_length: int = 32
    text_width: int = 128
    text_layers: int = 2
    text_steps: int = 900  # in which the text encoder learns what captions speak of
    # autoencoder
    vae_widths: tuple[int, ...] = (32, 64, 128, 128)
    latent_channels: int = 4
    vae_steps: int = 12_000
    vae_batch: int = 16  # crops of 64 pixels, or as many larger ones as cost the same
    vae_rate: float = 4e-4
    flat_share: float = 0.5  # of the crops: photographs as they are, at any phase
    vae_noise: float = 0.05  # on the latents, relative to their deviation
    # the autoencoder's decoder, once more at the end
    decoder_steps: int = 3000
    decoder_rate: float = 3e-4
    decoder_noise: float = 0.1
    # diffusion
    unet_widths: tuple[int, ...] = (64, 128, 192)
    unet_layers: int = 1  # of a block
    depth_widths: tuple[int, ...] = (8, 16, 32, 64)
    window: int = 16  # latent cells; patterns and silhouettes are learned on windows of the views
    shares: tuple[float, ...] = (0.6, 0.06, 0.2, 0.14)  # of the kinds in the steps, as `rendered`
    alone: float = 1 / 3  # of the objects' steps: through the UNet without the ControlNet
    alone_noisier: float = 1.5  # exponent: layouts are decided while little but noise is seen
    whole_view_share: float = 0.3  # of the steps with the ControlNet
    unet_steps: int = 8000
    joint_steps: int = 100_000
    batch: int = 16
    rate: float = 1e-3
    control_rate: float = 2.0  # times `rate`
    first_steps: float = 0.1  # share of samples without color, as samplers begin
    faint: float = 0.0  # and of those that show too little of their pattern
    depth_dropped: float = 0.08
    background_weight: float = 0.7
    cool_down: float = 0.3  # share of a stage's steps
    average: float = 0.999
    # loop
    loaders: int = 0  # processes that draw batches ahead
    compiled: bool = False  # networks, for one large GPU
    save_minutes: float = 4.0
    log_steps: int = 400

    def __post_init__(self) -> None:
        if self.size % 64 or self.window * 8 > self.size:
            raise ValueError(f"size {self.size}: not a multiple of 64, or less than the window")
        if any(width % 16 for width in self.unet_widths):
            raise ValueError(f"unet_widths {self.unet_widths} must be multiples of 16")
        if self.shard % PAINTS or self.held_back % PAINTS:
            raise ValueError(f"shard and held_back must be multiples of {PAINTS}: no view is cut")
        if len(self.depth_widths) != 4:
            raise ValueError("depth_widths needs 4 entries: 3 halvings match the autoencoder")
        if len(self.shares) != 4 or len(self.rendered) != 4:
            raise ValueError("shares and rendered need 4 entries: object, wall, landscape, front")


PRESETS: dict[str, Plan] = {
    "cpu": Plan(),  # about fifteen hours of two cores
    "gpu": Plan(  # minutes of one large GPU and 16 cores
        images=19_200,
        workers=16,
        loaders=12,
        compiled=True,
        log_steps=100,
        vae_steps=6000,
        vae_batch=128,
        unet_layers=2,
        unet_steps=1000,
        joint_steps=8000,
        batch=512,
        decoder_steps=1500,
    ),
    "further": Plan(  # from an exported model, for the image tasks; half an hour of a core
        seed=2,
        text_steps=0,
        images=3120,
        rendered=(0.30, 0.08, 0.42, 0.20),
        shares=(0.5, 0.06, 0.28, 0.16),
        unet_steps=0,
        joint_steps=3300,
        rate=5e-4,
        cool_down=0.35,
        log_steps=200,
        decoder_steps=0,
    ),
    "smoke": Plan(  # seconds; for tests of the machinery, learns nothing
        images=36,
        shard=12,
        size=64,
        window=4,
        held_back=6,
        workers=1,
        vocabulary=600,
        text_width=32,
        text_layers=1,
        text_steps=3,
        vae_widths=(16, 16, 16, 16),
        vae_steps=3,
        vae_batch=4,
        decoder_steps=3,
        unet_widths=(16, 16, 32),
        depth_widths=(16, 16, 16, 16),
        unet_steps=3,
        joint_steps=3,
        batch=2,
        log_steps=1,
    ),
}


def with_changes(plan: Plan, changes: list[str]) -> Plan:
    """Apply NAME=VALUE strings; values are JSON."""
    names = {field.name for field in fields(Plan)}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in names:
            raise ValueError(f"no plan field {name!r}; there are: {', '.join(sorted(names))}")
        plan = replace(plan, **{name: _parsed(json.loads(value))})
    return plan


def save_plan(plan: Plan, path: Path) -> None:
    text = json.dumps(asdict(plan), indent=1) + "\n"
    replace_file(path, lambda temporary: temporary.write_text(text))


def load_plan(path: Path) -> Plan:
    return plan_from(json.loads(path.read_text()))


def plan_from(values: dict[str, Any]) -> Plan:
    """A plan from its JSON object."""
    return Plan(**{name: _parsed(value) for name, value in values.items()})


def _parsed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
