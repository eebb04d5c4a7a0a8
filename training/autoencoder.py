# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOperatorIssue=false
"""Stage 2: the autoencoder. 8 x 8 pixels become 4 numbers, whitened to unit variance."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from .checkpoint import Average
from .data import Renders
from .loop import Clock, Stage
from .networks import LATENT_CHANNELS, LATENT_SCALE, make_autoencoder
from .plan import Plan

log = logging.getLogger(__name__)

_ANCHORED_SHARE = 0.3  # of the steps, see anchor_loss
_SMALL_CROPS_SHARE = 0.5
_LOWEST_CHROMA_CORRELATION = 0.9


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
    held_back = range(len(renders) - plan.held_back, len(renders))
    check_set = _pixels(np.stack([renders.image(i) for i in held_back][:24]), device)

    def loss_at(step: int) -> Tensor:
        images = _crops(plan, renders, step).to(device)
        anchor = max(0.0, 1 - step / (_ANCHORED_SHARE * plan.vae_steps))
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            noise = torch.randn(
                posterior.mean.shape, generator=torch.Generator().manual_seed(step)
            ).to(device)
            restored = vae.decode(posterior.mean + posterior.std * noise).sample
        divergence = (
            0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        )
        loss = reconstruction_loss(restored.float(), images) + 1e-3 * divergence
        return loss + anchor * anchor_loss(posterior.mean.float(), images) if anchor else loss

    def check(step: int) -> str:
        restored = reconstruct(vae, check_set)
        noise = (restored - check_set).square().mean() / 4
        correlation = chroma_correlation(restored, check_set)
        if step >= 300 and correlation < _LOWEST_CHROMA_CORRELATION:
            raise RuntimeError(f"autoencoder fell into the grey optimum: chroma {correlation:.2f}")
        return f"psnr {-10 * torch.log10(noise):.2f} dB, chroma correlation {correlation:.3f}"

    if not stage.run(loss_at, clock, plan.save_minutes, plan.log_steps, check):
        return None
    average.swap()
    whiten(vae, [_pixels(renders.image(i)[None], device) for i in range(0, len(renders), 61)])
    return vae.eval().requires_grad_(False)


def reconstruction_loss(restored: Tensor, images: Tensor) -> Tensor:
    """Absolute and squared error, of values, gradients and colours. (N, 3, H, W) in [-1, 1]."""
    difference = restored - images
    edges = (difference[..., 1:] - difference[..., :-1]).abs().mean() + (
        difference[..., 1:, :] - difference[..., :-1, :]
    ).abs().mean()
    chroma = (difference - difference.roll(1, dims=1)).abs().mean()
    return difference.abs().mean() + 2 * difference.square().mean() + edges + chroma


def anchor_loss(mean: Tensor, images: Tensor) -> Tensor:
    """Tie three latent channels to the average colour of their cell.

    Without it, training from random weights twice settled on sharp pictures without any colour.
    """
    return F.mse_loss(mean[:, :3], 2 * F.avg_pool2d(images, LATENT_SCALE))


def chroma_correlation(restored: Tensor, images: Tensor) -> float:
    pair = [(x - x.roll(1, dims=1)).flatten() for x in (restored, images)]
    return torch.corrcoef(torch.stack(pair))[0, 1].item()


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
    channels = LATENT_CHANNELS
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


def _pixels(images: np.ndarray, device: torch.device) -> Tensor:
    """(N, 3, H, W) uint8 to float32 in [-1, 1]."""
    values = torch.tensor(images, device=device).float()
    return values / 127.5 - 1


def _crops(plan: Plan, renders: Renders, step: int) -> Tensor:
    """Small crops first: many edges for little time. Then larger crops and whole views in turn, all
    batches of equal cost: group normalisation sees other statistics in a view than in a crop."""
    rng = Random(plan.seed * 1_000_003 + step)
    if step < _SMALL_CROPS_SHARE * plan.vae_steps:
        side, count = plan.size // 4, plan.vae_batch
    elif step % 2:
        side, count = plan.size // 2, plan.vae_batch // 2
    else:
        side, count = plan.size, max(1, plan.vae_batch // 8)
    crops = []
    for _ in range(count):
        image = renders.image(rng.randrange(len(renders) - plan.held_back))
        top, left = rng.randint(0, plan.size - side), rng.randint(0, plan.size - side)
        crops.append(image[:, top : top + side, left : left + side])
    return _pixels(np.stack(crops), torch.device("cpu"))
