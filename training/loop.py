# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop every stage shares: learning rate, averaging, logging, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoint import Average, load_checkpoint, save_checkpoint

log = logging.getLogger(__name__)


class Clock:
    """How much of this slice is left."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def stop(self) -> None:
        """End the slice now; the stage saves after its current step."""
        self._end = -math.inf

    def out_of_time(self) -> bool:
        return time.monotonic() >= self._end


def rate_factor(
    step: int, steps: int, cool_down: float, warmed_from: int = 0, warm_up: int = 100
) -> float:
    """Warm up, hold, cool down along a cosine to 2 %. The held part does not depend on `steps`,
    so a run may be made longer or shorter before its cool-down begins."""
    remaining = (steps - step) / max(1.0, cool_down * steps)
    falling = 0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, remaining))))
    return min(1.0, (step - warmed_from + 1) / warm_up, falling)


@dataclass
class Stage:
    """Modules trained together, with everything that must survive an interruption."""

    name: str
    path: Path  # the checkpoint
    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer
    average: Average
    steps: int
    cool_down: float
    step: int = 0
    _rates: list[float] = field(default_factory=list)
    _warmed_from: int = 0  # step at which the optimizer began without moments

    def resume(self) -> bool:
        """Load the checkpoint if there is one."""
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        state = load_checkpoint(self.path)
        if state is None:
            return False
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.average.load(state["average"])
        self.step = state["step"]
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        else:  # a snapshot brings no moments
            self._warmed_from = self.step
        return True

    def save(self) -> None:
        modules = {name: module.state_dict() for name, module in self.modules.items()}
        save_checkpoint(
            self.path,
            {
                "modules": modules,
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.state(),
                "step": self.step,
            },
        )

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    def run(
        self,
        loss_at: Callable[[int], Tensor],
        clock: Clock,
        save_minutes: float,
        log_steps: int,
        check: Callable[[int], str] = lambda step: "",
    ) -> bool:
        """Train until the last step or the end of the slice; returns whether the stage is finished.

        `check(step)` runs every `log_steps` with the averaged weights in place; its text joins the
        log line, and it raises if training has gone wrong in a known way.
        """
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        saved, began, first = time.monotonic(), time.monotonic(), self.step
        running: list[Tensor] = []
        while not self.finished and not clock.out_of_time():
            factor = rate_factor(self.step, self.steps, self.cool_down, self._warmed_from)
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * factor
            loss = loss_at(self.step)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.average.update()
            self.step += 1
            running.append(loss.detach())
            if self.step % log_steps == 0 or self.finished:
                pace = (time.monotonic() - began) / (self.step - first)
                mean = torch.stack(running).mean().item()
                running.clear()
                if not math.isfinite(mean):
                    raise RuntimeError(f"{self.name}: the loss at step {self.step} is {mean}")
                self.average.swap()
                extra = check(self.step)
                self.average.swap()
                log.info(
                    "%s: step %d of %d, loss %.4f, %.3f s a step %s",
                    self.name, self.step, self.steps, mean, pace, extra,
                )  # fmt: skip
            if time.monotonic() - saved > 60 * save_minutes:
                self.save()
                saved = time.monotonic()
        self.save()
        return self.finished
