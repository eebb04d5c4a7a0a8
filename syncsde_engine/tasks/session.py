# SPDX-License-Identifier: GPL-3.0-or-later
"""What every task does around its own idea: open a model, synchronise, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..config import TaskConfig
from ..coupling import Overlap, disagreement, first
from ..errors import InvalidRequest
from ..inversion import invert
from ..models import catalogue
from ..models.attention import Attend
from ..models.catalogue import Settings
from ..models.deepfloyd import unsuitable
from ..models.loading import Model, load, pick_device
from ..models.stable_diffusion import StableDiffusion
from ..noise import Noise
from ..report import report
from ..sampler import Denoiser, sample
from ..schedule import Step
from ..strategies import strategy
from ..usage import Clock, Usage
from . import Artifacts, Progress


class Session:
    """One run of one task: its model, its clock and what it found out."""

    def __init__(self, task: str, config: TaskConfig, *, control: bool = False) -> None:
        """Load the model. Raises MissingWeights or DeviceUnavailable."""
        self.task = task
        self.config = config
        self.clock = Clock()
        self.results: dict[str, Any] = {}
        with self.clock.measure("load"):
            self.device = pick_device(config.device)
            self.folder = catalogue.locate(config.model)
            named = getattr(config, "controlnet", None)
            self.controlnet: Path | None = catalogue.locate(named, "controlnet") if named else None
            self.settings: Settings = catalogue.settings(self.folder)
            self.model: Model = load(
                self.folder,
                self.device,
                controlnet=self.controlnet,
                control=control,
                precision=config.precision,
                compile=config.compile,
            )
            self.model.usage = Usage()
            self.steps: list[Step] = self.model.schedule.steps(config.steps, self._eta())

    @property
    def stable_diffusion(self) -> StableDiffusion:
        """The model, for what looks into its networks. Raises InvalidRequest for other models."""
        if not isinstance(self.model, StableDiffusion):
            raise unsuitable("its attention cannot be recorded or shared")
        return self.model

    def guidance_scale(self, paper: float) -> float:
        """What was asked for; else what the model likes; else the paper's for this task."""
        for scale in (self.config.guidance_scale, self.settings.image_guidance_scale):
            if scale is not None:
                return scale
        return paper

    def guided(
        self, prompts: Sequence[str], unwanted: Sequence[str], paper_scale: float, **options: Any
    ) -> Denoiser:
        """Bind prompts, one for each trajectory, to the model."""
        scale = self.guidance_scale(paper_scale)
        self.results["guidance_scale"] = scale
        return self.model.guided(prompts, unwanted, scale, self.config.batch_size, **options)

    def synchronise(
        self,
        denoiser: Denoiser,
        overlap: Overlap,
        size: tuple[int, int],
        inputs: Mapping[str, bytes],
        *,
        shared_noise: bool = False,
        reference: Literal["first", "training"] = "first",
        recorded: Tensor | None = None,
        starts: Mapping[int, Tensor] | None = None,
    ) -> Generator[Progress, None, Tensor]:
        """Sample all trajectories of `size` (h, w) together. Returns y_0, (N, C, h, w).

        `recorded` is as the sampler takes it. `starts` has the first states (C, h, w) of those
        trajectories that do not begin with noise. Raises NumericalFailure.
        """
        config = self.config
        chosen = strategy(
            config.strategy,
            config.inverse_lambda,
            config.correction,
            config.synchronized_share,
            reference,
        )
        shared = first(overlap).to(self.device) if shared_noise or chosen.shares_noise else None
        shape = (overlap.count, self.model.channels, *size)
        noise = Noise(config.seed, shape, self.device, shared)
        given = inputs.get("noise")
        y = noise.initial() if given is None else read_noise(given, shape).to(self.device)
        for trajectory, state in (starts or {}).items():
            y[trajectory] = state
        if shared is not None and (starts or chosen.shares_noise):
            y = shared.replace(y)
        coupling, start = chosen.couple(overlap).to(self.device), y
        with self.clock.measure("views"):
            for state in sample(
                y, self.steps, denoiser, chosen, coupling, noise.fresh, recorded=recorded
            ):
                y = state.y
                yield Progress(
                    "views", state.step.index + 1, state.step.total, state=state, start=start
                )
        self.results["disagreement"] = disagreement(y, overlap)
        self.results["largest_gain"] = max(chosen.gain(step) for step in self.steps)
        return y

    def invert(
        self, latents: Tensor, prompts: Sequence[str], attend: Attend | None = None
    ) -> Generator[Progress, None, Tensor]:
        """Walk clean latents (K, C, h, w) back to their noise, without guidance.

        Returns all states, (steps + 1, K, C, h, w), noisiest first. Raises NumericalFailure.
        """
        denoiser = self.model.guided(prompts, [], 1.0, self.config.batch_size, attend=attend)
        path = [latents]
        with self.clock.measure("invert"):
            for state in invert(latents, self.model.schedule, self.steps, denoiser):
                path.append(state.y)
                yield Progress("invert", len(path) - 1, state.step.total)
        return torch.stack(path[::-1])

    def finish(self, files: Artifacts, **resolved: Any) -> Artifacts:
        """Add report.json. `resolved` are parameters that were left to the model."""
        resolved.setdefault("guidance_scale", self.results.pop("guidance_scale", None))
        parts = ("controlnet",) if self.model.controlnet is not None else ()
        return files | {
            "report.json": report(
                self.task,
                dataclasses.replace(self.config, **resolved),
                self.clock,
                self.device,
                self.model.usage,
                model_sha256=catalogue.fingerprint(
                    catalogue.weights(self.folder, self.controlnet, control=bool(parts))
                ),
                **self.results,
            )
        }

    def _eta(self) -> float:
        stochastic = self.config.sampler == "ddpm" or self.config.strategy == "syncmvd"
        return 1.0 if stochastic else self.config.eta


def read_noise(content: bytes, shape: Sequence[int]) -> Tensor:
    """Read the initial noise of all trajectories from a safetensors blob. Raises InvalidRequest."""
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidRequest(
            f"The noise is not a safetensors file: {error}.", field="inputs.noise"
        ) from None
    noise = tensors.get("noise")
    if noise is None or noise.shape != torch.Size(shape):
        found = "no tensor 'noise'" if noise is None else f"shape {tuple(noise.shape)}"
        raise InvalidRequest(
            f"The noise has {found}, but this run needs {tuple(shape)}: one slice for each "
            "trajectory.",
            field="inputs.noise",
        )
    if not noise.is_floating_point():
        raise InvalidRequest(f"The noise is of type {noise.dtype}.", field="inputs.noise")
    if not torch.isfinite(noise).all():
        raise InvalidRequest("The noise has values that are not finite.", field="inputs.noise")
    return noise.float()
