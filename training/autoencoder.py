# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOperatorIssue=false
"""Stage 2: the autoencoder. 8 x 8 pixels become 4 numbers, whitened to unit variance.

Half of what it sees are the library's photographs as they are, half are rendered views.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from .ahead import drawn_ahead
from .checkpoint import Average
from .crops import Crops, to_pixels
from .data import Renders
from .loop import Clock, Stage
from .networks import LATENT_SCALE, make_autoencoder
from .plan import Plan

log = logging.getLogger(__name__)

_ANCHORED_SHARE = 0.15  # of the steps, see anchor_loss
_PLAIN_WEIGHT = 1e-4  # on the size of the latents, which nothing else holds
_LOWEST_CHROMA_CORRELATION = 0.9
_COLORS_BY = 0.1  # of the steps
_SEEN_BEFORE = 60  # batches, for the principal components
_CHECKED = 16  # crops of each sort


def train_autoencoder(
    plan: Plan, renders: Renders, folder: Path, clock: Clock, device: torch.device
) -> AutoencoderKL | None:
    """Train, or continue training; returns the averaged and whitened autoencoder once finished."""
    torch.manual_seed(plan.seed)
    vae = make_autoencoder(plan).to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=plan.vae_rate, betas=(0.9, 0.99), fused=True)
    average = Average([vae], plan.average)
    stage = Stage(
        "autoencoder", folder / "autoencoder.pt", {"vae": vae}, optimizer, average,
        plan.vae_steps, cool_down=0.6,
    )  # fmt: skip
    stage.resume()
    crops = Crops(plan, renders)
    views, flat = (part.to(device) for part in crops.held_back(_CHECKED))
    several = torch.cat([crops.draw(step) for step in range(_SEEN_BEFORE)])
    components = principal_components(several.to(device), plan.latent_channels)

    def loss_at(step: int) -> Tensor:
        images = draw(step).to(device)
        anchor = max(0.0, 1 - step / (_ANCHORED_SHARE * plan.vae_steps))
        generator = torch.Generator().manual_seed(step)
        with torch.autocast(device.type, torch.bfloat16):
            mean = vae.encode(images).latent_dist.mean
            noise = torch.randn(mean.shape, generator=generator).to(device)
            restored = vae.decode(mean + plan.vae_noise * mean.std().detach() * noise).sample
        loss = reconstruction_loss(restored.float(), images)
        loss = loss + _PLAIN_WEIGHT * mean.float().square().mean()
        return loss + anchor * anchor_loss(mean.float(), images, components) if anchor else loss

    def check(step: int) -> str:
        restored = reconstruct(vae, views)
        correlation = chroma_correlation(restored, views)
        late = step >= max(300, _COLORS_BY * plan.vae_steps)
        if late and correlation < _LOWEST_CHROMA_CORRELATION:
            raise RuntimeError(f"autoencoder fell into the gray optimum: chroma {correlation:.2f}")
        photos = reconstruct(vae, flat)
        return (
            f"held back: views {psnr(restored, views):.2f} dB, cell color error "
            f"{cell_error(restored, views):.3f}, chroma correlation {correlation:.3f}; photos "
            f"{psnr(photos, flat):.2f} dB, contrast kept {contrast_kept(photos, flat):.2f}"
        )

    with drawn_ahead(crops.draw, "crops", plan, folder) as draw:
        finished = stage.run(loss_at, clock, plan.save_minutes, plan.log_steps, check)
    if not finished:
        return None
    average.swap()
    whiten(vae, [to_pixels(renders.image(i)[None]).to(device) for i in range(0, len(renders), 61)])
    return vae.eval().requires_grad_(False)


def reconstruction_loss(restored: Tensor, images: Tensor) -> Tensor:
    """Absolute and squared error, of values, gradients, colors and the means of cells.

    The last keeps colors from shifting. (N, 3, H, W) in [-1, 1].
    """
    difference = restored - images
    edges = (difference[..., 1:] - difference[..., :-1]).abs().mean() + (
        difference[..., 1:, :] - difference[..., :-1, :]
    ).abs().mean()
    chroma = (difference - difference.roll(1, dims=1)).abs().mean()
    cells = F.avg_pool2d(difference, LATENT_SCALE).abs().mean()
    return difference.abs().mean() + 2 * difference.square().mean() + edges + chroma + 2 * cells


def anchor_loss(mean: Tensor, images: Tensor, components: Components) -> Tensor:
    """Tie the latents of a cell to its principal components, the best that is linear.

    Without an anchor, training from random weights twice settled on sharp pictures without any
    color. (The cell's average color in three channels was the anchor before: after 260 steps of 16
    crops the loss was 1.01 with it, and is 0.89.)
    """
    return F.mse_loss(mean, components.of(images))


def chroma_correlation(restored: Tensor, images: Tensor) -> float:
    pair = [(x - x.roll(1, dims=1)).flatten() for x in (restored, images)]
    return torch.corrcoef(torch.stack(pair))[0, 1].item()


class Components(NamedTuple):
    """Principal components of pixels in cells of LATENT_SCALE x LATENT_SCALE."""

    center: Tensor  # (3 * 64, 1)
    inward: Tensor  # (channels, 3 * 64), to unit variance

    def of(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, channels, H / 8, W / 8)."""
        rows, columns = (length // LATENT_SCALE for length in images.shape[-2:])
        cells = F.unfold(images, LATENT_SCALE, stride=LATENT_SCALE) - self.center
        return (self.inward @ cells).view(len(images), -1, rows, columns)


def principal_components(images: Tensor, channels: int) -> Components:
    """Of the cells of some images, (N, 3, H, W) in [-1, 1]."""
    cells = F.unfold(images, LATENT_SCALE, stride=LATENT_SCALE).transpose(0, 1).flatten(1).double()
    variances, axes = torch.linalg.eigh(torch.cov(cells))
    inward = axes[:, -channels:].T / variances[-channels:, None].sqrt().clamp(min=1e-6)
    return Components(cells.mean(1, keepdim=True).float(), inward.float())


def psnr(restored: Tensor, images: Tensor) -> float:
    """In decibel, of pictures in [-1, 1]."""
    return -10 * math.log10(max((restored - images).square().mean().item() / 4, 1e-10))


def contrast_kept(restored: Tensor, images: Tensor) -> float:
    """Difference of neighbors in the restored pictures over that in the pictures."""
    after, before = (
        (part[..., 1:] - part[..., :-1]).abs().mean()
        + (part[..., 1:, :] - part[..., :-1, :]).abs().mean()
        for part in (restored, images)
    )
    return float(after / before)


def cell_error(restored: Tensor, images: Tensor) -> float:
    """Mean absolute color error of the cells' means, of the range [0, 1]."""
    return F.avg_pool2d(restored - images, LATENT_SCALE).abs().mean().item() / 2


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Encode and decode the means, few at a time. (N, 3, H, W) in [-1, 1] to the same."""
    parts = [vae.decode(vae.encode(part).latent_dist.mean).sample for part in images.split(4)]
    return torch.cat(parts).float().clamp(-1, 1)


@torch.no_grad()
def whiten(vae: AutoencoderKL, images: list[Tensor]) -> None:
    """Give the latents zero mean and unit covariance by folding a map into the 1 x 1 convolutions.

    Reconstructions do not change. The scaling factor stays 1, and the posterior becomes (nearly)
    its mean, since an axis-aligned variance has no meaning after the rotation.
    """
    channels = vae.config.latent_channels
    latents = torch.cat(
        [vae.encode(image).latent_dist.mean.transpose(0, 1).flatten(1) for image in images], 1
    ).double()
    center = latents.mean(1)
    scales, axes = torch.linalg.eigh(torch.cov(latents))
    forward = (axes / scales.sqrt()) @ axes.T
    backward = (axes * scales.sqrt()) @ axes.T
    inward, outward = vae.quant_conv, vae.post_quant_conv
    kernel, bias = inward.weight[:channels, :, 0, 0].double(), inward.bias[:channels].double()
    inward.weight[:channels, :, 0, 0] = (forward @ kernel).float()
    inward.bias[:channels] = (forward @ (bias - center)).float()
    inward.weight[channels:] = 0
    inward.bias[channels:] = -20.0
    kernel = outward.weight[:, :, 0, 0].double()
    outward.bias += (kernel @ center).float()
    outward.weight[:, :, 0, 0] = (kernel @ backward).float()
