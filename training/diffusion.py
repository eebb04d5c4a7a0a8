# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false
"""Stages 4 and 5: text encoder and UNet, then the depth ControlNet together with both."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from .ahead import drawn_ahead
from .attributes import teach
from .batches import FIRST_STEP, Batch, Batches
from .checkpoint import Average, load_checkpoint
from .loop import Clock, Stage
from .networks import LATENT_SCALE, make_controlnet, make_scheduler, make_text_encoder, make_unet
from .plan import Plan
from .scenes import KINDS
from .start import START

log = logging.getLogger(__name__)

_VALIDATION = 32  # views of a kind
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
    """First phase, without depth: cheaper, and the ControlNet will inherit the features.

    The text encoder is taught alone before, in a minute.
    """
    torch.manual_seed(plan.seed)
    text, path = make_text_encoder(plan, tokenizer), folder / "unet.pt"
    if not path.exists():
        teach(text, tokenizer, plan)
    modules: dict[str, nn.Module] = {"text": text.to(device), "unet": make_unet(plan).to(device)}
    stage = Stage(
        "unet", path, modules, _optimizer(modules, plan),
        Average(modules.values(), plan.average), plan.unet_steps, cool_down=0.0,
    )  # fmt: skip
    stage.resume()
    losses = _Losses(modules, device, plan.compiled)
    held_back = _held_back(batches, plan.window)
    with drawn_ahead(batches.first_phase, "first_phase", plan, folder) as draw:
        return stage.run(
            lambda step: losses.of(draw(step)),
            clock,
            plan.save_minutes,
            plan.log_steps,
            lambda step: "held back: " + losses.texts(held_back),
        )


def train_jointly(
    plan: Plan,
    batches: Batches,
    tokenizer: CLIPTokenizer,
    folder: Path,
    clock: Clock,
    device: torch.device,
) -> bool:
    """Second phase: all three networks learn, with and without depth.

    Begins with the weights of `start.pt`, or else with the first phase's checkpoint.
    """
    torch.manual_seed(plan.seed + 1)
    first = load_checkpoint(folder / START) or load_checkpoint(folder / "unet.pt")
    assert first is not None
    text, unet = make_text_encoder(plan, tokenizer), make_unet(plan)
    text.load_state_dict(first["modules"]["text"])
    unet.load_state_dict(first["modules"]["unet"])
    objects = batches.validation("object", _VALIDATION, plan.window)
    assert objects is not None
    assert objects.depth is not None
    controlnet = make_controlnet(plan, unet, objects.depth[objects.depth.amax((1, 2, 3)) > 0])
    if "controlnet" in first["modules"]:
        controlnet.load_state_dict(first["modules"]["controlnet"])
    modules: dict[str, nn.Module] = {"text": text, "unet": unet, "controlnet": controlnet}
    for module in modules.values():
        module.to(device)
    stage = Stage(
        "joint", folder / "joint.pt", modules, _optimizer(modules, plan),
        Average(modules.values(), plan.average), plan.joint_steps, plan.cool_down,
    )  # fmt: skip
    stage.resume()
    losses = _Losses(modules, device, plan.compiled)
    blind = objects._replace(depth=torch.zeros_like(objects.depth))
    begun = objects._replace(
        timesteps=torch.full_like(objects.timesteps, (FIRST_STEP + 1000) // 2),
        shown=torch.zeros_like(objects.shown),
    )
    alone = _held_back(batches, plan.size // LATENT_SCALE)

    def check(step: int) -> str:
        with_depth, without = losses.mean(objects), losses.mean(blind)
        if step >= _DEPTH_MUST_HELP_AFTER and without - with_depth < _SMALLEST_DEPTH_GAIN:
            raise RuntimeError(f"depth has no effect: {with_depth:.4f} with, {without:.4f} without")
        return (
            f"held back: objects {with_depth:.4f}, without depth {without:.4f}, "
            f"from noise alone {losses.mean(begun):.4f}, "
            f"through the UNet alone {losses.texts(alone)}"
        )

    with drawn_ahead(batches.joint, "joint", plan, folder) as draw:
        return stage.run(
            lambda step: losses.of(draw(plan.unet_steps + step)),
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


def _held_back(batches: Batches, window: int) -> dict[str, Batch]:
    """By kind, for the UNet alone."""
    found = {kind: batches.validation(kind, _VALIDATION, window) for kind in KINDS}
    return {kind: batch._replace(depth=None) for kind, batch in found.items() if batch}


class _Losses:
    """v-prediction error on a batch (Salimans and Ho 2022), unweighted over time."""

    def __init__(
        self, modules: dict[str, nn.Module], device: torch.device, compiled: bool = False
    ) -> None:
        self._modules, self._device = modules, device
        if compiled:
            torch._dynamo.config.suppress_errors = True  # rather slow than not at all
            for name in ("unet", "controlnet"):
                if name in modules:
                    modules[name].to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
                    modules[name].compile()
        if device.type == "cpu":
            # The fused attention's way back takes twice as long for so few cells.
            unet = modules["unet"]
            assert isinstance(unet, UNet2DConditionModel)
            unet.set_attn_processor(AttnProcessor())
        scheduler: DDIMScheduler = make_scheduler()
        self._alphas = scheduler.alphas_cumprod.to(device)

    @torch.no_grad()
    def mean(self, batch: Batch) -> float:
        """Of a large batch, few at a time."""
        total, count = 0.0, len(batch.latents)
        for rows in torch.arange(count).split(16):
            part = batch.each(lambda tensor, rows=rows: tensor[rows])
            total += self.of(part).item() * len(rows)
        return total / count

    def texts(self, batches: dict[str, Batch]) -> str:
        return ", ".join(f"{kind} {self.mean(batch):.4f}" for kind, batch in batches.items())

    def of(self, batch: Batch) -> Tensor:
        batch = batch.each(lambda tensor: tensor.to(self._device))
        alpha = self._alphas[batch.timesteps][:, None, None, None]
        noisy = alpha.sqrt() * batch.shown + (1 - alpha).sqrt() * batch.noise
        target = alpha.sqrt() * batch.noise - (1 - alpha).sqrt() * batch.latents
        with torch.autocast(self._device.type, torch.bfloat16):
            text = self._modules["text"](batch.tokens)[0]
            residuals = {}
            if batch.depth is not None:
                down, middle = self._modules["controlnet"](
                    noisy, batch.timesteps, text, batch.depth, return_dict=False
                )
                residuals = {
                    "down_block_additional_residuals": down,
                    "mid_block_additional_residual": middle,
                }
            predicted = self._modules["unet"](noisy, batch.timesteps, text, **residuals).sample
        return (batch.weight * (predicted.float() - target).square()).mean()
