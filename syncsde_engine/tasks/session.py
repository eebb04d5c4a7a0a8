# SPDX-License-Identifier: GPL-3.0-or-later
"""What every task does around its own idea: open a model, synchronize, report."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..config import TaskConfig, loras
from ..errors import InvalidRequest
from ..method.coupling import Overlap, disagreement, first
from ..method.inversion import invert
from ..method.noise import Noise
from ..method.sampler import Denoiser, sample
from ..method.schedule import Schedule, Step
from ..method.sparse import Coupling
from ..method.strategies import Strategy, strategy
from ..models import catalog
from ..models.catalog import Settings
from ..models.devices import pick_device
from ..models.exemplar import SETTINGS as EXEMPLAR_SETTINGS
from ..models.exemplar import Exemplar
from ..preview import Picture, Preview, Watched
from ..report import report
from ..usage import Clock, Usage
from . import Artifacts, Progress, Saved

if TYPE_CHECKING:  # diffusers takes seconds to import, and pictures do not need it
    from ..models.attention import Attend
    from ..models.loading import Model
    from ..models.motion import MotionModel
    from ..models.stable_diffusion import StableDiffusion

log = logging.getLogger(__name__)


class Space(Protocol):
    """What states of trajectories mean: all that tasks ask of networks and pictures alike."""

    scale: int  # pixels of a finished picture for one of a state, along a side
    channels: int
    schedule: Schedule
    usage: Usage

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> states (N, C, H / scale, W / scale)."""
        ...

    def to_rgb(self, latents: Tensor, /) -> Tensor:
        """States (N, C, h, w) -> about their colors, (N, 3, h, w) on the CPU."""
        ...


class Session:
    """One run of one task: its model, its clock and what it found out."""

    def __init__(
        self,
        task: str,
        config: TaskConfig,
        *,
        control: bool = False,
        exemplar: Exemplar | None = None,
    ) -> None:
        """Load the model, or take the pictures. Raises MissingWeights or DeviceUnavailable."""
        self.task = task
        self.config = config
        self.clock = Clock()
        self.results: dict[str, Any] = {}
        self.exemplar = exemplar
        if exemplar is not None:
            pick_device(config.device)  # it must be there, whether it is used or not
            self.device, self.settings = exemplar.device, EXEMPLAR_SETTINGS
            self.space: Model | Exemplar | MotionModel = exemplar
            self.steps = exemplar.schedule.steps(config.steps, self._eta())
            return
        with self.clock.measure("load"):
            self.device = pick_device(config.device)
            self.folder = catalog.locate(config.model)
            require_kind(task, config.model, self.folder)
            named = getattr(config, "controlnet", None)
            self.controlnet: Path | None = catalog.locate(named, "controlnet") if named else None
            self.settings: Settings = catalog.settings(self.folder)
            if task == "motion":
                if config.lora is not None:
                    raise InvalidRequest(
                        f"The LoRA {config.lora!r:.200} is for models of pictures.",
                        hint="Leave lora out.",
                        field="lora",
                    )
                from ..models.motion import load_motion

                moves = load_motion(
                    self.folder,
                    self.device,
                    precision=config.precision,
                    compile=config.compile,
                )
                moves.usage = Usage()
                self.space = moves
                self.steps = moves.schedule.steps(config.steps, self._eta())
                return
            from ..models.loading import load
            from ..models.lora import Lora

            model: Model = load(
                self.folder,
                self.device,
                controlnet=self.controlnet,
                control=control,
                precision=config.precision,
                compile=config.compile,
                loras=tuple(
                    Lora(path, weight)
                    for path, (_, weight) in zip(
                        lora_files(config), loras(config.lora), strict=True
                    )
                ),
            )
            model.usage = Usage()
            self.space = model
            self.steps: list[Step] = model.schedule.steps(config.steps, self._eta())

    @property
    def model(self) -> Model:
        """The networks, for what needs words. Raises InvalidRequest for pictures in their place."""
        if isinstance(self.space, Exemplar):
            raise InvalidRequest(
                "A picture is in the place of the networks, and this needs words.",
                hint="Set model to mini, or to another network.",
                field="model",
            )
        return cast("Model", self.space)

    @property
    def motion(self) -> MotionModel:
        """The model of a task that makes motion: `require_kind` has seen to it."""
        return cast("MotionModel", self.space)

    @property
    def stable_diffusion(self) -> StableDiffusion:
        """The model, for what looks into its networks. Raises InvalidRequest for other models."""
        from ..models.deepfloyd import unsuitable
        from ..models.stable_diffusion import StableDiffusion

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

    def synchronize(
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
        picture: Picture | None = None,
    ) -> Generator[Progress, Saved | None, Tensor]:
        """Sample all trajectories of `size` (h, w) together. Returns y_0, (N, C, h, w).

        `recorded` is as the sampler takes it. `starts` has the first states (C, h, w) of those
        trajectories that do not begin with noise. `picture` makes of all states the one (C, H, W)
        that previews show; by default they lie side by side. Raises NumericalFailure.
        """
        config = self.config
        chosen = self.strategy(reference)
        # Where noise is shared, a pixel's noise is that of the first trajectory that sees its spot:
        # fresh noise always is; the start is, too, unless it was given for a strategy that takes
        # trajectories as they are.
        shared = first(overlap).to(self.device) if shared_noise or chosen.shares_noise else None
        shape = (overlap.count, self.space.channels, *size)
        noise = Noise(config.seed, shape, self.device, shared)
        y = self.initial(shape, inputs)
        for trajectory, state in (starts or {}).items():
            y[trajectory] = state
        if shared is not None and ("noise" not in inputs or starts or chosen.shares_noise):
            y = shared.replace(y)
        coupling = chosen.couple(overlap).to(self.device)
        y = yield from self.sample(
            "views", y, self.steps, denoiser, chosen, coupling, noise.fresh, recorded, picture
        )
        self.results["disagreement"] = disagreement(y, overlap)
        self.results["largest_gain"] = max(chosen.gain(step) for step in self.steps)
        return y

    def initial(self, shape: tuple[int, int, int, int], inputs: Mapping[str, bytes]) -> Tensor:
        """The noise that trajectories of a shape start from, one for each: given, or the seed's."""
        given = inputs.get("noise")
        if given is None:
            return Noise(self.config.seed, shape, self.device).initial()
        return read_noise(given, shape).to(self.device)

    def sample(
        self,
        stage: str,
        y: Tensor,
        steps: Sequence[Step],
        denoiser: Denoiser,
        strategy: Strategy,
        coupling: Coupling,
        fresh: Callable[[Step], Tensor | None],
        recorded: Tensor | None = None,
        picture: Picture | None = None,
    ) -> Generator[Progress, Saved | None, Tensor]:
        """Run the sampler as a stage; a saved state that is sent in at its begin is gone on from.

        The arguments are the sampler's.
        """
        start = y
        resume = yield Progress(stage, 0, steps[0].total, start=start)
        begun = steps[0].index < (resume.step if resume else 0) <= steps[0].total
        if resume is not None and begun and resume.y.shape == y.shape:
            log.info("%s goes on after step %d", stage, resume.step)
            y = torch.from_numpy(resume.y).to(y)
            steps = [step for step in steps if step.index >= resume.step]
            self.results["resumed_at_step"] = resume.step
        with self.clock.measure(stage):
            watched = Watched(denoiser)
            for state in sample(y, steps, watched, strategy, coupling, fresh, recorded):
                clean = watched.clean(y, state.step, recorded)
                preview = Preview(clean, self.space.to_rgb, picture)
                y = state.y
                number, total = state.step.index + 1, state.step.total
                yield Progress(stage, number, total, preview.png, state, start)
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
        resolved["model"] = model_name(self.config, self.exemplar)
        return files | {
            "report.json": report(
                self.task,
                dataclasses.replace(self.config, **resolved),
                self.clock,
                self.device,
                self.space.usage,
                model_sha256=self.exemplar.sha256
                if self.exemplar
                else catalog.fingerprint(model_weights(self.config)),
                **self.results,
            )
        }

    def strategy(self, reference: Literal["first", "training"] = "first") -> Strategy:
        """The strategy that was asked for; `reference` is of its decay over time."""
        config = self.config
        return strategy(
            config.strategy,
            config.inverse_lambda,
            config.correction,
            config.synchronized_share,
            reference,
        )

    def _eta(self) -> float:
        stochastic = self.config.sampler == "ddpm" or self.strategy().stochastic
        return 1.0 if stochastic else self.config.eta


def require_kind(task: str, name: str, folder: Path) -> None:
    """Raise InvalidRequest where a model of pictures is to make motion, or the other way round."""
    moves = catalog.makes_motion(folder)
    if moves != (task == "motion"):
        made, wanted = ("motion", "pictures") if moves else ("pictures", "motion")
        raise InvalidRequest(
            f"The model {name!r} makes {made}, and this task makes {wanted}.",
            hint=f"Set model to {catalog.DEFAULT if moves else 'mime'}, or to another that does.",
            field="model",
        )


def model_name(config: TaskConfig, exemplar: Exemplar | None) -> str:
    """What "auto" has become."""
    if exemplar is not None:
        return catalog.EXEMPLAR
    return catalog.DEFAULT if config.model == catalog.AUTO else config.model


def preload(task: str, config: TaskConfig) -> None:
    """Load a model with all that its first run would spend time on."""
    if config.model == catalog.EXEMPLAR:
        return  # there is nothing to load
    session = Session(task, config, control=hasattr(config, "controlnet"))
    if task != "motion":
        session.model.to_rgb(torch.zeros(1, session.model.channels, 1, 1))


def model_weights(config: TaskConfig) -> tuple[catalog.WeightsFile, ...]:
    """The files of the model, of its ControlNet where the task has one, and of LoRAs."""
    named = getattr(config, "controlnet", None)
    if config.model == catalog.EXEMPLAR:
        return ()
    weights = catalog.weights(
        catalog.locate(config.model),
        catalog.locate(named, "controlnet") if named else None,
        control=hasattr(config, "controlnet"),
    )
    return weights + catalog.weights_in(*lora_files(config))


def lora_files(config: TaskConfig) -> list[Path]:
    """Where the LoRAs are that a config names. Raises MissingWeights."""
    return [catalog.locate(name, "lora") for name, _ in loras(config.lora)]


def weights_sha256(config: TaskConfig) -> str:
    """SHA-256 of everything that is loaded for a run. Raises MissingWeights."""
    files = model_weights(config)
    upscaler = getattr(config, "upscaler", None)
    if upscaler:
        files += catalog.weights_in(catalog.locate(upscaler, "upscaler") / "unet")
    return catalog.fingerprint(files)


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
