# SPDX-License-Identifier: GPL-3.0-or-later
"""How good and how fast long motion is, strategy by strategy.

    .venv/bin/python -m benchmarks.motion [--model mime] [--sequences 20] [--seeds 4]

Single prompts: whether a judge that was taught by the generator (other seeds, other styles) sees
the verb, and whether manners are those of the prompt. Sequences of four prompts: the gap between
neighbors in standard deviations, peak jerk (PJ) and area of jerk (AUJ) over the seams in meters a
frame^3, the distance of seams from the nearest window of the generator's own clips (NN), skating
feet, and verbs. "real" are held-out clips.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np
import torch

from syncsde_engine.method.coupling import disagreement
from syncsde_engine.method.noise import Noise
from syncsde_engine.method.sampler import sample
from syncsde_engine.method.strategies import strategy
from syncsde_engine.models import catalog
from syncsde_engine.models.motion import MotionModel, load_motion
from syncsde_engine.motion import metrics
from syncsde_engine.motion.features import decode, path
from syncsde_engine.motion.fit import fit
from syncsde_engine.motion.limbs import lock_feet
from syncsde_engine.motion.sequence import Join, Layout, compose
from syncsde_engine.tasks.motion import canvas_of
from training.motion.clips import CIRCLES, HANDED, PACED, draw_clip
from training.motion.judge import accuracy, middle, teach
from training.motion.verbs import VERBS

CPU = torch.device("cpu")
FRAMES, OVERLAP, STEPS, SEGMENTS = 120, 30, 50, 4
ROWS: dict[str, tuple[str, str, float, tuple[Join, ...]]] = {
    "independent": ("independent", "clamped", 0.0, ("over", "fade")),
    "SyncSDE 3, clamped": ("syncsde", "clamped", 0.0, ("over", "fade")),
    "SyncSDE 3, ancestral": ("syncsde", "clamped", 1.0, ("over", "fade")),
    "SyncSDE 3, as printed": ("syncsde", "paper", 0.0, ("fade",)),
    "SyncTweedies": ("synctweedies", "clamped", 0.0, ("fade",)),
    "DoubleTake, take 1": ("doubletake", "clamped", 0.0, ("fade",)),
}


def sentence(verb: str, words: str = "") -> str:
    words = words or {"jump": "up and down", "stretch": "both arms up", "sit": "down"}.get(verb, "")
    ending = "es" if verb.endswith("ch") else "s"
    return f"a person {verb}{ending} {words}".strip()


def generate(
    model: MotionModel,
    prompts: Sequence[str],
    seed: int,
    layout: Layout | None,
    kind: tuple[str, str, float] = ("independent", "clamped", 0.0),
    guidance: float = 2.5,
) -> tuple[torch.Tensor, float]:
    """States of a sequence, or without a layout of single segments, and the gap."""
    name, correction, eta = kind
    chosen = strategy(name, 3.0, correction)  # type: ignore[arg-type]
    lying = layout or Layout(len(prompts), FRAMES, 0)
    order = tuple(range(len(prompts)))
    overlap = canvas_of(lying, order, ramps=name == "doubletake").overlap()
    noise = Noise(seed, (len(prompts), model.channels, 1, FRAMES), CPU)
    denoiser = model.guided(prompts, [""] * len(prompts), guidance, None)
    steps = model.schedule.steps(STEPS, eta)
    coupling = chosen.couple(overlap)
    *_, last = sample(noise.initial(), steps, denoiser, chosen, coupling, noise.fresh)
    return last.y, disagreement(last.y, overlap)


def batches(count: int, size: int = 8) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def motions(
    model: MotionModel, prompts: Sequence[str], seed: int, guidance: float
) -> list[np.ndarray]:
    """Joints (F, 22, 3) of single segments."""
    found = []
    for part in batches(len(prompts)):
        states, _ = generate(
            model, [prompts[i] for i in part], seed * 1000 + part[0], None, guidance=guidance
        )
        found += [decode(rows) for rows in model.features(states)]
    return found


def cadence(joints: np.ndarray) -> float:
    """Cycles a frame of what moves most, in the middle of a segment."""
    local = middle(joints) - middle(joints)[:, :1]
    flat = local.reshape(len(local), -1) - local.mean(0).ravel()
    signal = flat @ np.linalg.svd(flat, full_matrices=False)[2][0]
    power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), 512)) ** 2
    return float(power[8:].argmax() + 8) / 512


def side(verb: str, joints: np.ndarray) -> int:
    """0 if the left hand or leg does it, 1 if the right one."""
    inside = middle(joints)
    if verb == "kick":
        return int(inside[:, [10, 11], 1].max(0).argmax())
    if verb == "wave":
        return int(inside[:, [20, 21], 1].mean(0).argmax())
    wrists = inside[:, [20, 21]] - inside[:, :1]
    return int(np.linalg.norm(np.diff(wrists, axis=0), axis=-1).mean(0).argmax())


def singles(model: MotionModel, seeds: int, guidance: float) -> None:
    judge = teach()
    print(f"judge on held-out clips: {accuracy(judge):.3f}")
    prompts = [sentence(verb) for verb in VERBS for _ in range(seeds)]
    made = motions(model, prompts, 1, guidance)
    right = [judge.verb(joints) for joints in made]
    wanted = [verb for verb in VERBS for _ in range(seeds)]
    share = fmean(a == b for a, b in zip(right, wanted, strict=True))
    print(f"single prompts: {share:.3f} of {len(made)} verbs")
    for verb in VERBS:
        said = [a for a, b in zip(right, wanted, strict=True) if b == verb]
        if set(said) != {verb}:
            print(f"  {verb}: {', '.join(said)}")
    real = [draw_clip(9001, number, held_out=True).joints for number in range(60)]
    for name, several in (("made", made), ("real", real)):
        print(
            f"{name}: bones {100 * fmean(metrics.bone_spread(j) for j in several):.1f} cm, "
            f"jerk {fmean(float(metrics.jerk(j).mean()) for j in several):.3f}, "
            f"skate {fmean(metrics.skate(j) for j in several):.3f}"
        )
    manners(model, seeds, guidance)


def manners(model: MotionModel, seeds: int, guidance: float) -> None:
    """Whether a prompt's manner is to be seen."""
    turned = []
    for verb in CIRCLES:
        for number, word in enumerate(("left", "right")):
            asked = [sentence(verb, f"in a circle to the {word}")] * seeds
            for joints in motions(model, asked, 20 + number, guidance):
                yaw = np.unwrap(np.arctan2(*np.diff(joints[20:100, 0, [0, 2]], axis=0).T))
                turned.append((yaw[-1] - yaw[0] > 0) == (word == "left"))
    paced = []
    for verb in PACED:
        rates = [
            [cadence(j) for j in motions(model, [sentence(verb, word)] * seeds, 30, guidance)]
            for word in ("slowly", "quickly")
        ]
        paced += [quick > 1.15 * slow for slow, quick in zip(*rates, strict=True)]
    handed = []
    for verb, limb in HANDED.items():
        for number, word in enumerate(("left", "right")):
            asked = [sentence(verb, f"with the {word} {limb}")] * seeds
            handed += [side(verb, j) == number for j in motions(model, asked, 40, guidance)]
    for name, right in (("circles", turned), ("paces", paced), ("hands and legs", handed)):
        print(f"{name}: {fmean(right):.2f} of {len(right)}")


def known_windows(count: int = 300) -> np.ndarray:
    """Windows of OVERLAP frames of clips as those that the model was trained on."""
    found = []
    for number in range(count):
        joints = draw_clip(16, number).joints
        found += [metrics.window(joints[at : at + OVERLAP]) for at in range(0, 90, 10)]
    return np.stack(found).astype(np.float32)


def sequences(model: MotionModel, count: int, guidance: float) -> None:
    judge, known = teach(), known_windows()
    layout = Layout(SEGMENTS, FRAMES, OVERLAP)
    names = list(VERBS)
    plans = [
        [names[i] for i in np.random.default_rng(seed).choice(len(names), SEGMENTS, replace=False)]
        for seed in range(count)
    ]
    print("| strategy | phi | gap | PJ | AUJ | NN cm | skate | locked | bones cm | verbs |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    inside = []
    for name, (*kind, joins) in ROWS.items():
        figures: dict[Join, list[list[float]]] = {join: [] for join in joins}
        for seed, verbs in enumerate(plans):
            prompts = [sentence(verb) for verb in verbs]
            states, gap = generate(model, prompts, seed, layout, tuple(kind), guidance)  # type: ignore[arg-type]
            for join in joins:
                rows = compose(model.features(states), layout, join)
                figures[join].append([gap, *judged(rows, layout, verbs, judge, known, inside)])
        for join, each in figures.items():
            means = np.mean(each, axis=0)
            cells = [f"{value:.2f}" for value in means[:3]]
            cells += [f"{100 * means[3]:.1f}", f"{means[4]:.3f}", f"{means[5]:.3f}"]
            cells += [f"{100 * means[6]:.1f}", f"{means[7]:.2f}"]
            print(f"| {name} | {join} | {' | '.join(cells)} |", flush=True)
    print(f"jerk inside segments: {fmean(inside):.3f}")
    held = [draw_clip(9001, number, held_out=True).joints for number in range(100)]
    near = [metrics.nearest_window(j[40:70], known) for j in held]
    print(f"NN of held-out clips: {100 * fmean(near):.1f} cm")


def judged(
    rows: np.ndarray,
    layout: Layout,
    verbs: Sequence[str],
    judge: object,
    known: np.ndarray,
    inside: list[float],
) -> list[float]:
    joints = decode(rows)
    seams = [layout.seam(i) for i in range(layout.count - 1)]
    ordinary = metrics.jerk_inside(joints, seams)
    inside.append(ordinary)
    each = [metrics.seam(joints, begin, end, ordinary) for begin, end in seams]
    near = [metrics.nearest_window(joints[begin:end], known) for begin, end in seams]
    told = [
        judge.verb(joints[layout.begin(i) : layout.begin(i) + layout.frames]) == verb  # type: ignore[attr-defined]
        for i, verb in enumerate(verbs)
    ]
    return [
        fmean(seam.peak for seam in each),
        fmean(seam.area for seam in each),
        fmean(near),
        metrics.skate(fit(joints).joints()),
        metrics.skate(fit(lock_feet(joints)).joints()),
        metrics.bone_spread(joints),
        fmean(told),
    ]


def speed(model: MotionModel) -> None:
    layout = Layout(SEGMENTS, FRAMES, OVERLAP)
    prompts = [sentence(verb) for verb in ("walk", "wave", "sit", "dance")]
    wall, processor = time.perf_counter(), time.process_time()
    states, _ = generate(model, prompts, 0, layout, ("syncsde", "clamped", 0.0))
    sampled = time.process_time() - processor
    rows = compose(model.features(states), layout, "fade")
    fit(decode(rows))
    print(
        f"4 segments, 50 steps: {sampled:.1f} s of processor time, "
        f"{time.process_time() - processor - sampled:.2f} s for joints and fit, "
        f"{time.perf_counter() - wall:.1f} s in all"
    )
    yaw, root = path(rows)
    print(f"it ends {np.linalg.norm(root[-1, [0, 2]]):.1f} m away, turned by {yaw[-1]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mime")
    parser.add_argument("--sequences", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=("singles", "sequences", "speed"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_motion(catalog.locate(options.model), CPU)
    if options.only in (None, "speed"):
        speed(model)
    if options.only in (None, "singles"):
        singles(model, options.seeds, options.guidance)
    if options.only in (None, "sequences"):
        sequences(model, options.sequences, options.guidance)


if __name__ == "__main__":
    main()
