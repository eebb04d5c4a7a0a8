# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false
"""The stages of a run in order, each continued from what its folder already holds.

renders/         shards of pictures, depth maps and scene descriptions
tokenizer/       CLIP tokenizer
autoencoder.pt   checkpoint; vae/ once it is finished and whitened
latents.npy      all renders, encoded
start.pt         weights of the model a run began from; replaces the next file
unet.pt          checkpoint of the first diffusion phase
joint.pt         checkpoint of the second; exporting works from its first save on
decoder.pt       checkpoint of the decoder's last lessons; vae_fine/ once they are finished
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTokenizer

from .autoencoder import train_autoencoder
from .batches import Batches, encode_renders
from .data import Renders, render_shards
from .decoder import train_decoder
from .diffusion import train_jointly, train_unet
from .loop import Clock
from .plan import Plan
from .start import START
from .tokenizer import train_tokenizer

log = logging.getLogger(__name__)

STAGES = ("render", "autoencoder", "encode", "unet", "joint", "decoder")
_ENCODED, _FINE = "vae", "vae_fine"


def run_stages(plan: Plan, folder: Path, clock: Clock, device: torch.device, last: str) -> bool:
    """Work until stage `last` is finished (True) or the slice is over (False)."""
    wanted = STAGES[: STAGES.index(last) + 1]
    if not render_shards(plan, folder / "renders", clock.out_of_time):
        return False
    renders = Renders(plan, folder / "renders")
    tokenizer = load_tokenizer(plan, folder)
    if "autoencoder" not in wanted:
        return True
    vae = _load(folder / _ENCODED)
    if vae is None:
        vae = train_autoencoder(plan, renders, folder, clock, device)
        if vae is None:
            return False
        _save_folder(vae, folder / _ENCODED)
    if "encode" not in wanted:
        return True
    latents = encode_renders(
        plan, renders, vae.to(device), folder / "latents.npy", clock.out_of_time, device
    )
    if latents is None:
        return False
    batches = Batches(plan, renders, latents, tokenizer)
    phases = {"unet": train_unet, "joint": train_jointly}
    if (folder / START).exists():
        del phases["unet"]
    for name, phase in phases.items():
        if name in wanted and not phase(plan, batches, tokenizer, folder, clock, device):
            return False
    if "decoder" in wanted and not (folder / _FINE).exists():
        fine = train_decoder(plan, renders, vae, folder, clock, device)
        if fine is None:
            return False
        _save_folder(fine, folder / _FINE)
    return True


def load_tokenizer(plan: Plan, folder: Path) -> CLIPTokenizer:
    """The run's tokenizer, made on first use."""
    path = folder / "tokenizer"
    if not path.exists():
        _save_folder(train_tokenizer(plan), path)
    return CLIPTokenizer.from_pretrained(path)


def load_autoencoder(folder: Path) -> AutoencoderKL | None:
    """The run's autoencoder, with the finished decoder if there is one."""
    return _load(folder / _FINE) or _load(folder / _ENCODED)


def _load(path: Path) -> AutoencoderKL | None:
    if not path.exists():
        return None
    return AutoencoderKL.from_pretrained(path).eval().requires_grad_(False)


def _save_folder(part: CLIPTokenizer | AutoencoderKL, path: Path) -> None:
    temporary = path.with_name(path.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    part.save_pretrained(temporary)
    temporary.rename(path)
