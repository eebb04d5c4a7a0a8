# SPDX-License-Identifier: GPL-3.0-or-later
"""Wide images by SyncSDE from nothing but torch and the method's modules.

    python examples/wide.py

The "network" is exact: it is the denoiser of clouds, 48 x 48 pixels, that are Gaussian with a known
covariance. It knows small patches only; synchronized, seventeen of them become one wide sky. Writes
independent.ppm and syncsde.ppm, and prints by how much neighboring patches disagree.
"""

from pathlib import Path

import torch
from torch import Tensor

from syncsde_engine.method.canvas import Canvas
from syncsde_engine.method.coupling import disagreement, earlier
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.schedule import Schedule, Step
from syncsde_engine.method.strategies import Independent, SyncSDE

SIDE, STRIDE, PATCHES = 48, 12, 17
WIDTH = SIDE + STRIDE * (PATCHES - 1)


class CloudDenoiser:
    """The noise in y if the data are Gaussian: alike over 4 and 12 pixels along each axis."""

    def __init__(self) -> None:
        place = torch.arange(SIDE, dtype=torch.float32)
        square = (place - place[:, None]) ** 2
        alike = 0.3 * torch.exp(-square / 4**2) + 0.7 * torch.exp(-square / 12**2)
        values, self.basis = torch.linalg.eigh(alike)
        self.variance = values[:, None] * values[None, :]

    def predict_noise(self, y: Tensor, step: Step) -> Tensor:
        spectrum = self.basis.T @ y @ self.basis
        noise = (1 - step.alpha) ** 0.5 / (step.alpha * self.variance + 1 - step.alpha)
        return self.basis @ (noise * spectrum) @ self.basis.T


def colored(sky: Tensor) -> bytes:
    """(1, H, W), about -2 to 2 -> RGB bytes, from blue to white."""
    white = torch.sigmoid(1.5 * sky[0])[..., None]
    pixels = torch.tensor([70.0, 130, 200]) * (1 - white) + 250 * white
    return pixels.byte().numpy().tobytes()


def main() -> None:
    # Each patch looks at the canvas through a crop, and paints all that it sees.
    row = torch.arange(SIDE)[:, None] * WIDTH + torch.arange(SIDE)
    cells = torch.stack([row + STRIDE * i for i in range(PATCHES)])
    canvas = Canvas(SIDE, WIDTH, cells, weight=torch.ones(cells.shape))
    overlap = canvas.overlap()

    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    steps = Schedule.from_config(betas).steps(50)
    noise = Noise(seed=0, shape=(PATCHES, 1, SIDE, SIDE), device=torch.device("cpu"))

    for name, strategy in {"independent": Independent(), "syncsde": SyncSDE(5.0)}.items():
        y = noise.initial()
        for state in sample(y, steps, CloudDenoiser(), strategy, earlier(overlap)):
            y = state.y
        header = f"P6 {WIDTH} {SIDE} 255\n".encode()
        Path(f"{name}.ppm").write_bytes(header + colored(canvas.composed(y)))
        print(f"{name:12} neighbors disagree by {disagreement(y, overlap):.4f}")


if __name__ == "__main__":
    main()
