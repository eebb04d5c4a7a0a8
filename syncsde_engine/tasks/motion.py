# SPDX-License-Identifier: GPL-3.0-or-later
"""Long motion from segments with a prompt each, conditioned on those before (section 3.3.6).

A segment is a row of frames on a canvas one cell high, and overlaps the next by some of them; each
is told what follows from the earlier ones there, Eqs. 20 to 22. The features are velocities, so
segments are joined as they are and integrated once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..config import MotionConfig
from ..errors import InvalidRequest
from ..method.canvas import Canvas
from ..method.coupling import disagreement
from ..method.noise import Noise
from ..method.strategies import strategy
from ..models import catalog
from ..motion.features import decode, path
from ..motion.place import begin_of, detour, placed
from ..motion.sequence import Layout, compose
from . import Artifacts, Progress, Saved
from .motion_files import body, figures, files
from .motion_sheet import strip
from .motion_states import Anchor, Past, read, write
from .session import Session, model_weights

MDM_GUIDANCE = 2.5  # Paper: not said; MDM's own


@dataclass(frozen=True)
class Work:
    """Which segments of the whole are made, and which are there and condition them."""

    prompts: tuple[str, ...]  # of all segments, in time
    order: tuple[int, ...]  # the trajectories: those that are there, then those that are made
    given: int  # how many are there
    source: tuple[int, ...]  # which segment of the finished motion each of them is
    shift: int = 0  # by how many segments the finished motion comes later now


def planned(config: MotionConfig, past: Past | None) -> Work:
    """What is to be done: all segments, or more at an end, or one of them again."""
    new = config.prompt
    if past is None:
        return Work(new, tuple(range(len(new))), 0, ())
    old = past.prompts
    if config.reroll is not None:
        segment = config.reroll - 1
        beside = tuple(i for i in (segment - 1, segment + 1) if 0 <= i < len(old))
        prompts = (*old[:segment], new[0], *old[segment + 1 :])
        # Both neighbors are there: the one between them comes last, and sees both.
        return Work(prompts, (*beside, segment), len(beside), beside)
    if config.extend_to == "end":
        last = len(old) - 1
        order = (last, *range(len(old), len(old) + len(new)))
        return Work((*old, *new), order, 1, (last,))
    order = (len(new), *range(len(new))[::-1])
    return Work((*new, *old), order, 1, (0,), len(new))


def canvas_of(layout: Layout, order: tuple[int, ...], ramps: bool) -> Canvas:
    """Rows of frames, one cell high; with `ramps` what neighbors share fades from one to the other.

    Paper: Eq. 20 calls M_i the part that does not overlap, yet uses it as a precision: it is the
    overlap.
    """
    begins = torch.tensor([layout.begin(segment) for segment in order])
    begins = begins - begins.min()
    cells = begins[:, None] + torch.arange(layout.frames)
    weight = torch.ones(len(order), layout.frames)
    if ramps:
        weight = torch.from_numpy(layout.ramps()[list(order)]).float()
    return Canvas(1, int(cells.max()) + 1, cells[:, None], weight[:, None])


def run(config: MotionConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Make the motion, all segments in one batch; or extend a finished one, or a segment of it.

    Raises InvalidRequest, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    past = read(inputs["states"]) if "states" in inputs else None
    require_past(config, past)
    yield Progress("load", 0, 1)
    session = Session("motion", config)
    model = session.motion
    model.require_frames(config.frames)
    weights = catalog.fingerprint(model_weights(config))
    if past is not None:
        past.require(config, weights)
    work = planned(config, past)
    layout = Layout(len(work.prompts), config.frames, config.overlap)
    canvas = canvas_of(layout, work.order, ramps=session.strategy().ramps)
    overlap = canvas.overlap()
    recorded = past.recorded(work.source).to(session.device) if past and work.given else None
    alive = [work.prompts[segment] for segment in work.order[work.given :]]
    scale = session.guidance_scale(MDM_GUIDANCE)
    session.results["guidance_scale"] = scale
    unwanted = [config.negative_prompt or ""] * len(alive)
    denoiser = model.guided(alive, unwanted, scale, config.batch_size)

    def picture(y: Tensor) -> Tensor:
        shown = tuple(np.argsort(work.order).tolist())
        small = Layout(len(shown), config.frames, config.overlap)
        drawn = strip(decode(compose(model.features(y[list(shown)]), small, "fade")), small)
        return torch.from_numpy(drawn.astype(np.float32) / 255).movedim(-1, 0)

    def joined(y: Tensor) -> tuple[np.ndarray, Anchor]:
        return whole(config, model.features(y), layout, work, past)

    states, y = yield from kept(
        session.synchronize(
            denoiser,
            overlap,
            (1, config.frames),
            inputs,
            recorded=recorded,
            starts=None if recorded is None else dict(enumerate(recorded[0])),
            picture=picture,
        )
    )
    features, anchor = joined(y)
    told = figures(features, layout, config.foot_lock) | {"gap": session.results["disagreement"]}
    session.results["figures"] = told
    if config.compare:
        shape = (overlap.count, model.channels, 1, config.frames)
        noise = Noise(config.seed, shape, session.device)
        free = strategy("independent")
        start = session.initial(shape, inputs)
        if recorded is not None:
            start[: work.given] = recorded[0]
        _, alone = yield from kept(
            session.sample(
                "compare",
                start,
                session.steps,
                denoiser,
                free,
                free.couple(overlap).to(session.device),
                noise.fresh,
                recorded,
                picture,
            )
        )
        rows, _ = whole(config, model.features(alone), layout, work, past, fade=True)
        session.results["independent"] = figures(
            rows, layout, config.foot_lock, ordinary=told["jerk_inside"]
        ) | {"gap": disagreement(alone, overlap)}

    yield Progress("write", 0, 1)
    with session.clock.measure("write"):
        done = after(past, work, states, y.cpu(), features, weights, config, anchor)
        title = f"{config.model}, {config.strategy}, seed {config.seed}, {layout.total / 20:.1f} s"
        if model.config.get("procedural"):
            title += "; this model has learned procedural motion only"
        motion = body(features, anchor, config.foot_lock)
        made = files(motion, features, layout, work.prompts, title)
    session.results["model_license"] = model.config.get("license")
    session.results["model_data"] = model.config.get("data")
    session.results["segments"] = [
        {"prompt": prompt, "frames": list(layout.own(i))} for i, prompt in enumerate(work.prompts)
    ]
    session.results["frames"] = layout.total
    return session.finish(made | {"states.safetensors": write(done)})


def require_past(config: MotionConfig, past: Past | None) -> None:
    """Raise InvalidRequest for a segment to make again of nothing."""
    if config.reroll is not None and past is None:
        raise InvalidRequest(
            "reroll needs the states of a finished motion.",
            hint="Give states, its folder or states.safetensors in it.",
            field="inputs.states",
        )


def kept(
    steps: Generator[Progress, Saved | None, Tensor],
) -> Generator[Progress, None, tuple[list[Tensor], Tensor]]:
    """Go through a stage of the sampler and keep its states, for extending and re-rolling.

    It always begins at its begin: a run that is gone on from somewhere would lack those before,
    and all of it takes seconds.
    """
    states: list[Tensor] = []
    with_start = True
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return states, end.value
        if with_start and progress.start is not None:
            states.append(progress.start.cpu())
            with_start = False
        elif progress.state is not None:
            states.append(progress.state.y.cpu())
        yield progress


def whole(
    config: MotionConfig,
    made: np.ndarray,
    layout: Layout,
    work: Work,
    past: Past | None,
    fade: bool = False,
) -> tuple[np.ndarray, Anchor]:
    """The whole motion's features (T, C) and where it begins, from the segments (N, F, C) made.

    What is in no segment that was made stays as it was, byte for byte; unless `let_move`, it also
    stays where it was.
    """
    join = "fade" if fade else config.join
    if past is None:
        return compose(made, layout, join), Anchor()
    segments = dict(zip(work.order, made, strict=True))
    new = work.order[work.given :]
    features = np.empty((layout.total, made.shape[2]), np.float32)
    old = layout.begin(work.shift)
    features[old : old + len(past.features)] = past.features
    low, high = min(work.order), max(work.order)
    part = np.stack([segments[i] for i in range(low, high + 1)])
    small = Layout(len(part), layout.frames, layout.overlap)
    on_top = tuple(i - low for i in new)
    rows = compose(part, small, join, on_top)
    begin = min(layout.begin(i) for i in new)
    end = max(layout.begin(i) + layout.frames for i in new)
    start = layout.begin(low)
    features[begin:end] = rows[begin - start : end - start]
    if config.let_move:
        return features, past.anchor if work.shift == 0 else Anchor()
    if work.shift:  # what was made comes before: the whole begins elsewhere
        frame = layout.begin(work.shift) + layout.overlap
        yaw, root = path(past.features[: layout.overlap + 1])
        x, _, z = placed(root[-1], past.anchor.x, past.anchor.z, past.anchor.yaw).tolist()
        facing = past.anchor.yaw + float(yaw[-1])
        return features, Anchor(*begin_of(features, frame, x, z, facing))
    segment = new[0]
    if config.reroll is not None and segment + 1 < layout.count:
        first = layout.begin(segment) + (layout.overlap if segment else 0)
        last, back = layout.seam(segment)
        features = detour(features, past.features, first, last, back)
    return features, past.anchor


def after(
    past: Past | None,
    work: Work,
    states: list[Tensor],
    final: Tensor,
    features: np.ndarray,
    weights: str,
    config: MotionConfig,
    anchor: Anchor,
) -> Past:
    """All segments' states, those that were there as they were."""
    path_of = torch.stack(states[:-1])[:, :, :, 0].half()
    count = len(work.prompts)
    shape = (len(path_of), count, *path_of.shape[2:])
    all_states, all_final = torch.zeros(shape, dtype=torch.float16), torch.zeros(shape[1:])
    if past is not None:
        here = slice(work.shift, work.shift + len(past.prompts))
        all_states[:, here], all_final[here] = past.states, past.final
    for row, segment in enumerate(work.order):
        if row >= work.given:
            all_states[:, segment], all_final[segment] = path_of[:, row], final[row, :, 0]
    return Past(
        all_states,
        all_final,
        features,
        work.prompts,
        config.frames,
        config.overlap,
        weights,
        anchor,
    )
