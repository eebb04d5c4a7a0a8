# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
"""The last stage: the autoencoder's decoder alone learns to be crisp, the latents stay as they are.

It sees latents as the UNet makes them, a little wrong, and is held to the energy of fine bands
rather than to every pixel, with a small critic of patches beside (PatchGAN, hinge loss). It may be
done again at any time: the UNet does not notice.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.func import functional_call

from .autoencoder import contrast_kept, psnr, reconstruct, reconstruction_loss
from .checkpoint import Average
from .crops import Crops
from .data import Renders
from .loop import Clock, Stage
from .plan import Plan

_BANDS = 3
_WINDOW = 8  # pixels over which energy is compared
_RECONSTRUCTION, _ENERGY, _CRITIC = 0.5, 2.0, 0.08  # weights
_CRITIC_BEGINS = 0.1  # share of the steps after which the critic counts fully
_CHECKED = 16


class Critic(nn.Sequential):
    """(N, 3, H, W) in [-1, 1] -> (N, 1, H / 8, W / 8): how real a patch looks."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        before = 3
        for width in (32, 64, 128):
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
            before = width
        super().__init__(*layers, nn.Conv2d(before, 1, 3, 1, 1))


def train_decoder(
    plan: Plan,
    renders: Renders,
    vae: AutoencoderKL,
    folder: Path,
    clock: Clock,
    device: torch.device,
) -> AutoencoderKL | None:
    """Train, or continue training, the decoder of a finished autoencoder; None if time is over."""
    torch.manual_seed(plan.seed + 2)
    vae, critic = vae.to(device), Critic().to(device)
    vae.requires_grad_(False)
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)
    groups = [
        {"params": [p for p in vae.parameters() if p.requires_grad], "lr": plan.decoder_rate},
        {"params": list(critic.parameters()), "lr": plan.decoder_rate},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.5, 0.99), fused=True)
    stage = Stage(
        "decoder", folder / "decoder.pt", {"vae": vae, "critic": critic}, optimizer,
        Average([vae], plan.average), plan.decoder_steps, cool_down=0.5,
    )  # fmt: skip
    stage.resume()
    crops = Crops(plan, renders)
    views, flat = (part.to(device) for part in crops.held_back(_CHECKED))

    def loss_at(step: int) -> Tensor:
        images = crops.draw(plan.vae_steps + step).to(device)  # of all sizes
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(images).latent_dist.mean
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
            restored = vae.decode(latents + plan.decoder_noise * noise.to(device)).sample.float()
            fixed = {name: value.detach() for name, value in critic.named_parameters()}
            wanted = -functional_call(critic, fixed, (restored,)).float().mean()
            told = F.relu(1 - critic(images).float()).mean()
            told = told + F.relu(1 + critic(restored.detach()).float()).mean()
        counts = min(1.0, step / max(1.0, _CRITIC_BEGINS * plan.decoder_steps))
        return (
            _RECONSTRUCTION * reconstruction_loss(restored, images)
            + _ENERGY * energy_loss(restored, images)
            + _CRITIC * counts * wanted
            + told
        )

    def check(step: int) -> str:
        restored, photos = reconstruct(vae, views), reconstruct(vae, flat)
        return (
            f"held back: views {psnr(restored, views):.2f} dB, contrast kept "
            f"{contrast_kept(restored, views):.2f}; photos {psnr(photos, flat):.2f} dB, contrast "
            f"kept {contrast_kept(photos, flat):.2f}"
        )

    if not stage.run(loss_at, clock, plan.save_minutes, plan.log_steps, check):
        return None
    stage.average.swap()
    return vae.eval().requires_grad_(False)


def bands(images: Tensor) -> list[Tensor]:
    """The finest bands of a Laplacian pyramid, each half the size of the one before."""
    found = []
    for _ in range(_BANDS):
        coarse = F.avg_pool2d(images, 2)
        smooth = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        found.append(images - smooth)
        images = coarse
    return found


def energy_loss(restored: Tensor, images: Tensor) -> Tensor:
    """How far the local energy of the fine bands is from that of the pictures.

    Both (N, 3, H, W) in [-1, 1].
    """
    total = restored.new_zeros(())
    for after, before in zip(bands(restored), bands(images), strict=True):
        energies = [
            (F.avg_pool2d(part.square(), _WINDOW, _WINDOW // 2) + 1e-5).sqrt()
            for part in (after, before)
        ]
        total = total + (energies[0] - energies[1]).abs().mean()
    return total / _BANDS
