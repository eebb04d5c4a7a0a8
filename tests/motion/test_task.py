# SPDX-License-Identifier: GPL-3.0-or-later
"""The task: its canvas, its files, causality, extending, and making one segment again."""

import io
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from syncsde_engine import tasks
from syncsde_engine.config import MotionConfig
from syncsde_engine.errors import InvalidRequest
from syncsde_engine.method.coupling import earlier, everyone
from syncsde_engine.motion import bvh, metrics
from syncsde_engine.motion.features import decode
from syncsde_engine.motion.place import placed
from syncsde_engine.motion.sequence import Layout
from syncsde_engine.request import build
from syncsde_engine.tasks.motion import canvas_of, planned
from syncsde_engine.tasks.motion_states import read
from tests.engine.running import finish
from tests.motion.tiny_motion import save_mime

PROMPTS = ["a person walks", "a person sits", "someone waves", "a person walks to the left"]
SMALL = {"frames": 60, "overlap": 15, "steps": 4, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_mime(tmp_path_factory.mktemp("models") / "mime"))


@pytest.fixture(scope="module")
def make(model):
    def make(prompts=PROMPTS, inputs=None, **parameters):
        asked = {**SMALL, "model": model, "seed": 3, **parameters}
        return finish("motion", {"prompt": list(prompts), **asked}, inputs)

    return make


@pytest.fixture(scope="module")
def made(make):
    return make()


def features(files):
    return np.load(io.BytesIO(files["motion.npz"]))["features"]


def joints(files):
    return np.load(io.BytesIO(files["motion.npz"]))["joints"]


def report(files):
    return json.loads(files["report.json"])


def states(files):
    return {"states": files["states.safetensors"]}


@pytest.mark.parametrize("count", [2, 4])
def test_the_papers_canvas(count):
    layout = Layout(count, 120, 30)
    canvas = canvas_of(layout, tuple(range(count)), ramps=False)
    assert canvas.width == 120 + 90 * (count - 1)
    overlap = canvas.overlap()
    assert len(earlier(overlap).rows) == 30 * (count - 1)
    assert len(everyone(overlap).rows) == 120 * count


def test_ramps_blend_the_states_of_neighbors():
    layout = Layout(2, 120, 30)
    coupling = everyone(canvas_of(layout, (0, 1), ramps=True).overlap())
    y = torch.zeros(2, 1, 1, 120)
    y[1] = 1
    blended = coupling.replace(y)[:, 0, 0]
    rise = torch.arange(30) / 30
    torch.testing.assert_close(blended[0, 90:], rise)
    torch.testing.assert_close(blended[1, :30], rise)
    assert (blended[0, :90] == 0).all()
    assert (blended[1, 30:] == 1).all()


def test_defaults_are_the_papers():
    config = MotionConfig(prompt=("a person walks",))
    assert (config.frames, config.overlap, config.inverse_lambda) == (120, 30, 3.0)
    assert (config.strategy, config.correction, config.join) == ("syncsde", "clamped", "fade")


def test_files_of_a_run(made):
    assert set(made) == {
        "motion.bvh",
        "motion.npz",
        "motion.glb",
        "contact_sheet.png",
        "states.safetensors",
        "report.json",
    }
    told, total = report(made), 60 + 45 * 3
    assert told["frames"] == total
    assert [each["prompt"] for each in told["segments"]] == PROMPTS
    assert told["segments"][0]["frames"][0] == 0
    assert told["segments"][-1]["frames"][1] == total
    assert features(made).shape == (total, 263)
    figure = bvh.read(made["motion.bvh"].decode())
    assert figure.frame_time == pytest.approx(0.05)
    order = [figure.names.index(name) for name in ("pelvis", "left_ankle", "head")]
    assert np.abs(figure.joints()[:, order] - joints(made)[:, [0, 7, 15]]).max() < 1e-5
    assert told["network_evaluations"]["motion"] == 4 * 2 * 4
    assert told["figures"]["bone_spread_fitted"] < 1e-9
    assert len(told["figures"]["peak_jerk"]) == 3
    assert told["model_license"] == "CC0-1.0"


def test_progress_shows_figures(model):
    asked = {"prompt": PROMPTS[:2], **SMALL, "model": model}
    steps = list(tasks.run("motion", build("motion", asked), {}))
    assert [step.stage for step in steps] == ["load", *["views"] * 5, "write"]
    picture = Image.open(io.BytesIO(steps[3].preview()))
    assert (picture.format, max(picture.size)) == ("PNG", 512)
    assert len(np.unique(np.asarray(picture))) > 20


def test_a_run_that_is_gone_on_from_somewhere_begins_anew(model, made):
    asked = {"prompt": PROMPTS, **SMALL, "model": model, "seed": 3}
    config = build("motion", asked)
    for progress in tasks.run("motion", config, {}):
        if progress.state is not None and progress.step == 2:
            state = tasks.saved(progress)
    files = tasks.follow(tasks.run("motion", config, {}, state))
    for name in ("motion.npz", "states.safetensors"):
        assert files[name] == made[name]


def test_the_same_seed_is_the_same_motion(make, made):
    again = make()
    for name in set(made) - {"report.json"}:
        assert again[name] == made[name], name
    assert not np.array_equal(features(make(seed=4)), features(made))


def test_without_strength_segments_are_independent(make):
    free, off = make(strategy="independent"), make(inverse_lambda=0.0)
    assert free["motion.npz"] == off["motion.npz"]


def test_what_follows_changes_nothing_before_it(make, made):
    alone, two = make(PROMPTS[:1]), make(PROMPTS[:2])
    for shorter, count in ((alone, 1), (two, 2)):
        parts = [safetensors.torch.load(files["states.safetensors"]) for files in (shorter, made)]
        for name in ("states", "final"):
            axis = 1 if name == "states" else 0
            assert torch.equal(parts[0][name], parts[1][name].narrow(axis, 0, count)), name


def test_one_segment_is_plain_sampling(make):
    alone, free = make(PROMPTS[:1]), make(PROMPTS[:1], strategy="independent")
    assert alone["motion.npz"] == free["motion.npz"]


@pytest.mark.parametrize("strategy", ["doubletake", "synctweedies", "multidiffusion"])
def test_averages_leave_no_gap(make, strategy):
    gap = report(make(strategy=strategy))["figures"]["gap"]
    assert gap < 1e-5


def test_agreement_grows_with_strength(make, made):
    free = report(make(strategy="independent"))["figures"]["gap"]
    assert 0 < report(made)["figures"]["gap"] < free


def test_compared_with_independent_segments_of_the_same_noise(make, made):
    told = report(make(compare=True))
    free = report(make(strategy="independent"))["figures"]
    assert told["independent"]["gap"] == pytest.approx(free["gap"])
    assert told["independent"]["bone_spread"] == pytest.approx(free["bone_spread"])
    assert features(make(compare=True)).tobytes() == features(made).tobytes()


@pytest.mark.parametrize("segment", [1, 2, 4])
def test_one_segment_again(make, made, segment):
    again = make(["someone waves"], states(made), reroll=segment, seed=9)
    old, new = features(made), features(again)
    begin = (segment - 1) * 45
    kept = np.ones(len(old), bool)
    kept[begin : begin + 60] = False
    assert new[kept].tobytes() == old[kept].tobytes()
    assert not np.array_equal(new[~kept], old[~kept])
    before, after = (safetensors.torch.load(f["states.safetensors"]) for f in (made, again))
    others = [i for i in range(4) if i != segment - 1]
    for name, axis in (("states", 1), ("final", 0)):
        index = torch.tensor(others)
        assert torch.equal(
            after[name].index_select(axis, index), before[name].index_select(axis, index)
        )
    assert report(again)["segments"][segment - 1]["prompt"] == "someone waves"
    assert report(again)["figures"]["gap"] > 0


def test_what_follows_a_new_segment_stays_in_its_place(make, made):
    again = make(["someone waves"], states(made), reroll=2, seed=9)
    moves = make(["someone waves"], states(made), reroll=2, seed=9, let_move=True)
    old = decode(features(made))
    follows, before = slice(105, None), slice(0, 45)
    for files in (again, moves):
        found = decode(features(files))
        assert np.abs(found[before] - old[before]).max() == 0
        moved = np.abs(found[follows] - old[follows]).max()
        assert (moved < 1e-5) == (files is again)
    assert np.abs(np.diff(decode(features(again))[:, 0], axis=0)).max() < 0.2, "no jump"


@pytest.mark.parametrize("side", ["end", "start"])
def test_extended(make, made, side):
    longer = make(["someone waves", "a person sits"], states(made), extend_to=side, seed=5)
    old, new = features(made), features(longer)
    assert len(new) == len(old) + 90
    if side == "end":
        assert new[: len(old) - 15].tobytes() == old[:-15].tobytes()
        assert np.abs(joints(longer)[:150] - joints(made)[:150]).max() < 0.1
    else:
        assert new[90 + 15 :].tobytes() == old[15:].tobytes()
    prompts = [each["prompt"] for each in report(longer)["segments"]]
    added = ["someone waves", "a person sits"]
    assert prompts == ([*PROMPTS, *added] if side == "end" else [*added, *PROMPTS])


def test_an_older_motion_keeps_its_place_when_something_comes_before(make, made):
    longer = make(["someone waves"], states(made), extend_to="start", seed=5)
    anchor = read(longer["states.safetensors"]).anchor
    found = placed(decode(features(longer)), anchor.x, anchor.z, anchor.yaw)
    assert np.abs(found[45 + 15 :] - decode(features(made))[15:]).max() < 1e-5


def test_extended_again_and_again(make, made):
    longer = make(["someone waves"], states(made), seed=5)
    longest = make(["a person sits"], states(longer), seed=6)
    assert len(features(longest)) == 60 + 45 * 5
    again = make(["a person walks"], states(longest), reroll=5, seed=7)
    assert features(again)[:150].tobytes() == features(longest)[:150].tobytes()


def test_the_order_in_which_trajectories_are_conditioned():
    past = type("Past", (), {"prompts": ("a", "b", "c")})
    again = planned(MotionConfig(prompt=("x",), reroll=2), past)
    assert (again.order, again.given, again.prompts) == ((0, 2, 1), 2, ("a", "x", "c"))
    later = planned(MotionConfig(prompt=("x", "y")), past)
    assert (later.order, later.given) == ((2, 3, 4), 1)
    sooner = planned(MotionConfig(prompt=("x", "y"), extend_to="start"), past)
    assert (sooner.order, sooner.given, sooner.shift) == ((2, 1, 0), 1, 2)
    assert sooner.prompts == ("x", "y", "a", "b", "c")


def test_locked_feet_change_the_files_and_not_the_features(make, made):
    locked = make(foot_lock=True)
    assert np.array_equal(features(locked), features(made))
    told = report(locked)["figures"]
    assert told["skate_locked"] <= told["skate"]
    assert metrics.bone_spread(joints(locked).astype(float)) < 1e-5


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"overlap": 31}, "overlap", "more than half"),
        ({"frames": 62}, "frames", "multiple of 5"),
        ({"reroll": 1}, "prompt", "for one segment"),
        ({"reroll": 1, "prompt": ["a"]}, "inputs.states", "finished motion"),
        ({"prompt": ["nothing known"]}, "prompt", "knows no word"),
        ({"model": "mini"}, "model", "makes pictures"),
        ({"steps": 51}, "steps", "50"),
    ],
)
def test_what_cannot_be_asked(make, changes, field, said):
    with pytest.raises(InvalidRequest, match=said) as raised:
        make(**{"prompts": changes.pop("prompt", PROMPTS), **changes})
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": 5}, "steps"),
        ({"frames": 80}, "frames"),
        ({"overlap": 10}, "overlap"),
        ({"reroll": 5}, "reroll"),
    ],
)
def test_what_does_not_suit_a_finished_motion(make, made, changes, field):
    with pytest.raises(InvalidRequest) as raised:
        make(["someone waves"], states(made), **changes)
    assert raised.value.field == field


def test_states_of_another_model(make, made, tmp_path):
    other = str(save_mime(tmp_path / "other", seed=1))
    with pytest.raises(InvalidRequest, match="another model"):
        make(["someone waves"], states(made), model=other)


@pytest.mark.parametrize(
    "content", [b"", b"no states", safetensors.torch.save({"a": torch.ones(1)})]
)
def test_states_that_are_none(make, content):
    with pytest.raises(InvalidRequest, match=r"states\.safetensors"):
        make(["someone waves"], {"states": content})


def test_a_model_of_motion_makes_no_pictures(model):
    with pytest.raises(InvalidRequest, match="makes motion"):
        finish("wide", {"prompt": "hills", "model": model})
