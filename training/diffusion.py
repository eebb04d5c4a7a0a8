# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false
"""Stages 4 and 5: text encoder and UNet, then the depth ControlNet together with both."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from .batches import Batch, Batches
from .checkpoint import Average, load_checkpoint
from .loop import Clock, Stage
from .networks import make_controlnet, make_scheduler, make_text_encoder, make_unet
from .plan import Plan

log = logging.getLogger(__name__)

_VALIDATION = 96
_DEPTH_MUST_HELP_AFTER = 800  # joint steps
_SMALLEST_DEPTH_GAIN = 0.01


def train_unet(
    plan: Plan,
    batches: Batches,
    tokenizer: CLIPTokenizer,
    folder: Path,
    clock: Clock,
    device: torch.device,
) -> bool:
    """First phase, without depth: cheaper, and the ControlNet will inherit the features."""
    torch.manual_seed(plan.seed)
    modules: dict[str, nn.Module] = {
        "text": make_text_encoder(plan, tokenizer).to(device),
        "unet": make_unet(plan).to(device),
    }
    stage = Stage(
        "unet", folder / "unet.pt", modules, _optimizer(modules, plan),
        Average(modules.values(), plan.average), plan.unet_steps, cool_down=0.0,
    )  # fmt: skip
    stage.resume()
    losses = _Losses(modules, batches.validation(_VALIDATION), device)
    return stage.run(
        lambda step: losses.training(batches.training(step, 0.0)),
        clock,
        plan.save_minutes,
        plan.log_steps,
        lambda step: f"held back {losses.held_back(with_depth=False):.4f}",
    )


def train_jointly(
    plan: Plan,
    batches: Batches,
    tokenizer: CLIPTokenizer,
    folder: Path,
    clock: Clock,
    device: torch.device,
) -> bool:
    """Second phase: all three networks learn with depth. Needs the first phase's checkpoint."""
    torch.manual_seed(plan.seed + 1)
    first = load_checkpoint(folder / "unet.pt")
    assert first is not None
    text, unet = make_text_encoder(plan, tokenizer), make_unet(plan)
    text.load_state_dict(first["modules"]["text"])
    unet.load_state_dict(first["modules"]["unet"])
    validation = batches.validation(_VALIDATION)
    seen = validation.depth[validation.depth.amax((1, 2, 3)) > 0]
    controlnet = make_controlnet(plan, unet, seen[:32])
    modules: dict[str, nn.Module] = {"text": text, "unet": unet, "controlnet": controlnet}
    for module in modules.values():
        module.to(device)
    stage = Stage(
        "joint", folder / "joint.pt", modules, _optimizer(modules, plan),
        Average(modules.values(), plan.average), plan.joint_steps, plan.cool_down,
    )  # fmt: skip
    stage.resume()
    losses = _Losses(modules, validation, device)

    def check(step: int) -> str:
        with_depth, without = losses.held_back(True), losses.held_back(False)
        if step >= _DEPTH_MUST_HELP_AFTER and without - with_depth < _SMALLEST_DEPTH_GAIN:
            raise RuntimeError(f"depth has no effect: {with_depth:.4f} with, {without:.4f} without")
        return f"held back {with_depth:.4f}, without depth {without:.4f}"

    return stage.run(
        lambda step: losses.training(
            batches.training(plan.unet_steps + step, plan.whole_view_share)
        ),
        clock,
        plan.save_minutes,
        plan.log_steps,
        check,
    )


def averaged_networks(
    plan: Plan, tokenizer: CLIPTokenizer, folder: Path
) -> tuple[CLIPTextModel, UNet2DConditionModel, ControlNetModel, int]:
    """The averaged weights of the joint checkpoint, and its step."""
    state = load_checkpoint(folder / "joint.pt")
    if state is None:
        raise FileNotFoundError("no joint.pt in the run folder: the joint stage has not begun")
    text, unet = make_text_encoder(plan, tokenizer), make_unet(plan)
    controlnet = make_controlnet(plan, unet, torch.rand(2, 3, 64, 64))
    modules = {"text": text, "unet": unet, "controlnet": controlnet}
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    average = Average(modules.values(), plan.average)
    average.load(state["average"])
    average.swap()
    return text, unet, controlnet, state["step"]


def _optimizer(modules: dict[str, nn.Module], plan: Plan) -> torch.optim.Optimizer:
    """AdamW with decay on matrices only, and a quicker ControlNet."""
    groups = []
    for name, module in modules.items():
        rate = plan.rate * (plan.control_rate if name == "controlnet" else 1.0)
        parameters = list(module.parameters())
        for decay, chosen in (
            (0.01, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)


class _Losses:
    """v-prediction error on a batch (Salimans and Ho 2022), plain and uniform over time."""

    def __init__(
        self, modules: dict[str, nn.Module], validation: Batch, device: torch.device
    ) -> None:
        self._modules, self._validation, self._device = modules, validation, device
        scheduler: DDIMScheduler = make_scheduler()
        self._alphas = scheduler.alphas_cumprod.to(device)

    def training(self, batch: Batch) -> Tensor:
        return self._loss(batch.to(self._device))

    @torch.no_grad()
    def held_back(self, with_depth: bool) -> float:
        total, count = 0.0, len(self._validation.latents)
        for rows in torch.arange(count).split(24):
            part = Batch(*(tensor[rows] for tensor in self._validation)).to(self._device)
            if not with_depth:
                part = part._replace(depth=torch.zeros_like(part.depth))
            total += self._loss(part).item() * len(rows)
        return total / count

    def _loss(self, batch: Batch) -> Tensor:
        alpha = self._alphas[batch.timesteps][:, None, None, None]
        noisy = alpha.sqrt() * batch.latents + (1 - alpha).sqrt() * batch.noise
        target = alpha.sqrt() * batch.noise - (1 - alpha).sqrt() * batch.latents
        with torch.autocast(self._device.type, torch.bfloat16):
            text = self._modules["text"](batch.tokens)[0]
            residuals = {}
            if "controlnet" in self._modules:
                down, middle = self._modules["controlnet"](
                    noisy, batch.timesteps, text, batch.depth, return_dict=False
                )
                residuals = {
                    "down_block_additional_residuals": down,
                    "mid_block_additional_residual": middle,
                }
            predicted = self._modules["unet"](noisy, batch.timesteps, text, **residuals).sample
        return (batch.weight * (predicted.float() - target).square()).mean()
