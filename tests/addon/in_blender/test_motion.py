# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion in real Blender: made by a real engine with mime, and laid onto armatures of all kinds."""

import json
import shutil
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
JOINTS = [
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
    *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck"),
    *("left_collar", "right_collar", "head", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
]
LIMBS = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
TO_BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
TWO = {"prompt": "a person walks\na person waves with the right hand", "steps": 20}
SHORT = {"frames": 60, "overlap": 20}  # 100 frames in all
MIXAMO = {
    **{"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2"},
    **{"neck": "Neck", "head": "Head"},
    **{
        f"{side.lower()}_{joint}": f"{side}{name}"
        for side in ("Left", "Right")
        for joint, name in {
            "collar": "Shoulder",
            "shoulder": "Arm",
            "elbow": "ForeArm",
            "wrist": "Hand",
            "hip": "UpLeg",
            "knee": "Leg",
            "ankle": "Foot",
            "foot": "ToeBase",
        }.items()
    },
}


def quaternions(turns):
    """Axis and angle (..., 3) as w, x, y, z."""
    angle = np.linalg.norm(turns, axis=-1, keepdims=True)
    axis = turns / np.maximum(angle, 1e-9)
    return np.concatenate([np.cos(angle / 2), np.sin(angle / 2) * axis], axis=-1)


def matrices(quaternion):
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


@pytest.fixture(scope="module")
def offsets(installed):
    import importlib

    module = importlib.import_module("bl_ext.user_default.syncsde.motion.skeleton")
    assert list(module.JOINTS) == JOINTS
    assert module.PARENTS == PARENTS
    return module.OFFSETS


@pytest.fixture(scope="module")
def folder(offsets, tmp_path_factory):
    """A finished motion of 81 frames with two prompts, that wriggles smoothly while it travels."""
    folder = tmp_path_factory.mktemp("motion")
    clock = np.arange(81)[:, None, None] / 20
    random = np.random.default_rng(5)
    speed, phase, size = (random.random((1, 22, 3)) for _ in range(3))
    turns = quaternions(0.9 * size * np.sin(2 * speed * clock + 6 * phase))
    seconds = clock[:, 0, 0]
    root = np.stack([0.3 * seconds, 0.9 + 0.05 * np.sin(seconds), seconds], axis=1)
    world = matrices(turns)
    joints = np.empty((81, 22, 3))
    joints[:, 0] = root
    for joint in range(1, 22):
        parent = PARENTS[joint]
        joints[:, joint] = joints[:, parent] + world[:, parent] @ offsets[joint]
        world[:, joint] = world[:, parent] @ world[:, joint]
    np.savez(
        folder / "motion.npz",
        joints=joints.astype(np.float32),
        rotations=turns.astype(np.float32),
        root=root.astype(np.float32),
        offsets=offsets.astype(np.float32),
        prompts=np.array(["a person walks", "a person bows"]),
        ranges=np.array([[0, 40], [40, 81]]),
        fps=np.array(20),
    )
    return folder


def joints_of(folder):
    """(F, 22, 3) meters, in Blender's space."""
    with np.load(folder / "motion.npz") as arrays:
        return arrays["joints"].astype(np.float64) @ TO_BLENDER.T


@pytest.fixture
def lay(bpy, addon, folder):
    """Lay the finished motion onto an armature, or a new mannequin, without an engine."""

    def laid(target="", bones=None, source=folder, **options):
        placement = addon.motions.Placement(target=target, bones=bones, **options)
        done = bpy.ops.syncsde.apply_motion(directory=str(source), placement=placement.to_json())
        assert done == {"FINISHED"}
        return bpy.data.objects[target] if target else bpy.context.scene.syncsde_motion.target

    return laid


def go_to(bpy, frame, fps=24, start=1):
    """Show the scene at a frame of the motion, which has 20 a second."""
    place = start + frame * fps / 20
    bpy.context.scene.frame_set(int(np.floor(place)), subframe=place - np.floor(place))


def heads(obj, names):
    matrix = np.array(obj.matrix_world)
    found = np.array([obj.pose.bones[name].head for name in names])
    return found @ matrix[:3, :3].T + matrix[:3, 3]


def angles(bpy, obj, folder, names, turn=None, frames=(0, 5, 25, 40, 60, 80)):
    """The largest angle in degrees between limbs of an armature and of the body."""
    joints = joints_of(folder) @ (np.eye(3) if turn is None else turn).T
    worst = 0.0
    for frame in frames:
        go_to(bpy, frame)
        for side in ("left", "right"):
            for begin, end in LIMBS.items():
                pair = f"{side}_{begin}", f"{side}_{end}"
                one, other = heads(obj, [names[each] for each in pair])
                body = joints[frame, JOINTS.index(pair[1])] - joints[frame, JOINTS.index(pair[0])]
                cross = np.cross(other - one, body)
                angle = np.arctan2(np.linalg.norm(cross), (other - one) @ body)
                worst = max(worst, float(np.degrees(angle)))
    return worst


def as_matrix(rows):
    from mathutils import Matrix

    return Matrix([list(row) for row in rows])


def an_armature(bpy, offsets, names, arms_down=0.0, size=1.0, inside=None, rolls=0.0):
    """A body of longer legs as an armature; `inside` turns its own space, the object turns back."""
    joints = np.zeros((22, 3))
    long = np.ones((22, 1))
    long[[4, 5, 7, 8]] = 1.3
    for joint in range(1, 22):
        joints[joint] = joints[PARENTS[joint]] + (offsets * long)[joint]
    joints = joints @ TO_BLENDER.T
    joints[:, 2] -= joints[:, 2].min() - 0.03
    for shoulder, side in ((16, 1), (17, -1)):
        cosine, sine = np.cos(arms_down), side * np.sin(arms_down)
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        for joint in (shoulder + 2, shoulder + 4):
            joints[joint] = joints[shoulder] + turn @ (joints[joint] - joints[shoulder])
    space = np.eye(3) if inside is None else inside
    data = bpy.data.armatures.new("Rig")
    obj = bpy.data.objects.new("Rig", data)
    bpy.context.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.mode_set(mode="EDIT")
    random = np.random.default_rng(2)
    for joint, name in enumerate(JOINTS):
        if name not in names:
            continue
        bone = data.edit_bones.new(names[name])
        children = [j for j in range(22) if PARENTS[j] == joint and JOINTS[j] in names]
        tail = joints[children[0]] if children else joints[joint] + (0, 0, 0.1)
        bone.head, bone.tail = space.T @ joints[joint] / size, space.T @ tail / size
        bone.roll = rolls * random.random()
        parent = PARENTS[joint]
        while parent > 0 and JOINTS[parent] not in names:
            parent = PARENTS[parent]
        if parent >= 0:
            bone.parent = data.edit_bones[names[JOINTS[parent]]]
    bpy.ops.object.mode_set(mode="OBJECT")
    matrix = np.eye(4)
    matrix[:3, :3] = space * size
    obj.matrix_world = as_matrix(matrix)
    bpy.context.view_layer.update()
    return obj


def shown(bpy):
    """What the panel's list says."""
    segments = bpy.context.scene.syncsde_motion.segments
    return [(each.prompt, each.made, each.begin, each.end) for each in segments]


def press(bpy, **options):
    """Call the operator as its button does, which in background would not ask the panel."""
    return bpy.ops.syncsde.motion(**bpy.context.scene.syncsde_motion.arguments() | options)


# The whole way, with an engine.


def test_operator_makes_a_mannequin_that_moves(bpy, addon, real_engine, tmp_path):
    bpy.context.scene.frame_end = 50
    assert bpy.ops.syncsde.motion(**TWO, **SHORT, seed=3, directory=str(tmp_path)) == {"FINISHED"}
    settings = bpy.context.scene.syncsde_motion
    obj = settings.target
    assert obj.name == "Mannequin"
    assert [bone.name for bone in obj.data.bones] != []
    assert set(obj.data.bones.keys()) == set(JOINTS)
    joints = joints_of(tmp_path)
    assert len(joints) == 100
    error = 0.0
    for frame in range(0, 100, 10):
        go_to(bpy, frame)
        error = max(error, np.abs(heads(obj, JOINTS) - joints[frame]).max())
    assert error < 1e-5
    assert [(prompt, made) for prompt, made, _, _ in shown(bpy)] == [
        ("a person walks", True),
        ("a person waves with the right hand", True),
    ]
    action = obj.animation_data.action
    assert action.use_fake_user
    assert [marker.name for marker in action.pose_markers] == TWO["prompt"].split("\n")
    strips = obj.animation_data.nla_tracks["SyncSDE"].strips
    assert [strip.name for strip in strips] == TWO["prompt"].split("\n")
    assert strips[0].frame_end == strips[1].frame_start == action.pose_markers[1].frame
    assert bpy.context.scene.frame_end == int(1 + 99 * 1.2) == round(strips[1].frame_end)
    assert bpy.context.scene.render.fps == 24
    body = obj.children[0]
    go_to(bpy, 90)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated = body.evaluated_get(depsgraph)
    points = np.array([evaluated.matrix_world @ v.co for v in evaluated.data.vertices])
    nearest = np.linalg.norm(points[:, None] - joints[90], axis=2).min(axis=0)
    assert nearest.max() < 0.15, "the mesh is where the joints are"
    assert addon.session.outcome.note.startswith("Moved by mime: procedural")


def test_a_segment_is_made_again_more_is_added_and_all_taken_back(bpy, addon, real_engine):
    bpy.ops.syncsde.motion(**TWO, **SHORT, seed=3)
    settings = bpy.context.scene.syncsde_motion
    obj = settings.target

    def places(begin, end):
        found = []
        for frame in range(begin, end):
            bpy.context.scene.frame_set(frame)
            found.append(heads(obj, JOINTS))
        return np.array(found)

    before = places(1, 40)
    first = obj.animation_data.action
    assert bpy.ops.syncsde.motion_extend(prompt="a person bows") == {"FINISHED"}
    assert [prompt for prompt, *_ in shown(bpy)] == [*TWO["prompt"].split("\n"), "a person bows"]
    assert np.abs(places(1, 40) - before).max() < 5e-3  # bones get the mean length of all
    late = places(122, 160)
    extended = obj.animation_data.action
    assert extended != first
    assert bpy.ops.syncsde.motion_reroll(segment=2, prompt="a person claps") == {"FINISHED"}
    assert [prompt for prompt, *_ in shown(bpy)][1] == "a person claps"
    assert np.abs(places(1, 40) - before).max() < 5e-3
    assert np.abs(places(122, 160) - late).max() < 2e-2, "what follows keeps its place"
    assert np.abs(places(60, 90) - before[-1]).max() > 0.05
    rerolled = obj.animation_data.action
    assert bpy.ops.syncsde.motion_revert() == {"FINISHED"}
    assert obj.animation_data.action == extended
    assert rerolled not in list(bpy.data.actions)
    assert np.abs(places(122, 160) - late).max() < 1e-6
    assert [prompt for prompt, *_ in shown(bpy)][1] == "a person waves with the right hand"
    assert not bpy.ops.syncsde.motion_revert.poll()
    # At the other end: what there is keeps its frames.
    assert bpy.ops.syncsde.motion_extend(prompt="a person runs", extend_to="start") == {"FINISHED"}
    assert shown(bpy)[0][:3] == ("a person runs", True, 1 - 48)
    assert np.abs(places(122, 160) - late).max() < 2e-2
    assert bpy.ops.syncsde.motion_accept() == {"FINISHED"}
    assert not extended.use_fake_user


def test_in_a_window_a_timer_does_it_in_slices(bpy, addon, real_engine, offsets, monkeypatch):
    obj = an_armature(bpy, offsets, {name: name for name in JOINTS})
    stages = []

    def ticking():
        while addon.session._tick() is not None:
            if addon.session.current.stage not in stages:
                stages.append(addon.session.current.stage)
            time.sleep(0.02)
        return addon.session.last_error

    monkeypatch.setattr(addon.session, "wait", ticking)
    monkeypatch.setattr(addon.results, "SLICE_SECONDS", 0.0)
    done = bpy.ops.syncsde.motion(**TWO, **SHORT, seed=3, target="Rig")
    assert done == {"FINISHED"}
    keys = [stage for stage in stages if stage.startswith("Setting Keys ")]
    assert keys == [f"Setting Keys {done}/91" for done in range(0, 91, 12)]
    assert len(addon.actions.bag(obj.animation_data.action).fcurves) == 91
    assert len(bpy.data.actions) == 1
    assert addon.session.last_error == ""


def test_a_folder_of_the_artists_outlives_a_job_that_fails(bpy, addon, monkeypatch, tmp_path):
    addon.engine.stop()
    monkeypatch.setenv("SYNCSDE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SYNCSDE_ENGINE", sys.executable)  # has no command "serve"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("of mine")
    with pytest.raises(RuntimeError, match="The engine did not start"):
        bpy.ops.syncsde.motion(prompt="a person walks", directory=str(mine))
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_a_folder_beside_a_file_that_is_not_saved_is_refused(bpy, an_engine):
    with pytest.raises(RuntimeError, match="'//out' is beside the blend file"):
        bpy.ops.syncsde.motion(prompt="a person walks", directory="//out")


def test_panels_list_is_what_is_made(bpy, addon, real_engine, tmp_path):
    settings = bpy.context.scene.syncsde_motion
    settings.frames, settings.overlap, settings.steps = 60, 20, 10
    for prompt in ("a person walks", "a person bows"):
        settings.segments.add().prompt = prompt
    settings.foot_lock = True
    assert press(bpy, seed=5, directory=str(tmp_path)) == {"FINISHED"}
    said = json.loads((tmp_path / "report.json").read_text())["parameters"]
    assert said["prompt"] == ["a person walks", "a person bows"]
    assert (said["frames"], said["steps"], said["seed"]) == (60, 10, 5)
    assert said["foot_lock"] is True
    about = json.loads(settings.target.animation_data.action["syncsde"])
    assert about["placement"]["lock_feet"] is True
    settings.segments.add().prompt = "a person jumps"
    settings.active = 1
    assert settings.to_come() == ("end", ["a person jumps"])
    assert bpy.ops.syncsde.motion_reroll() == {"FINISHED"}
    assert [(prompt, made) for prompt, made, *_ in shown(bpy)] == [
        ("a person walks", True),
        ("a person bows", True),
        ("a person jumps", False),
    ]
    assert settings.seed == 6
    assert bpy.ops.syncsde.motion_extend() == {"FINISHED"}
    assert [made for _, made, *_ in shown(bpy)] == [True, True, True]


# Onto armatures, without an engine.


def test_strips_show_what_the_action_shows(bpy, lay):
    obj = lay()
    action = obj.animation_data.action
    frames = (1, 20.5, 48, 48.5, 49, 49.5, 96)

    def poses():
        found = []
        for frame in frames:
            bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))
            found.append(heads(obj, JOINTS))
        return np.array(found)

    alone = poses()
    obj.animation_data.action = None
    assert np.abs(poses() - alone).max() < 1e-6
    assert np.abs(np.diff(alone, axis=0)).max() > 0.1
    assert len(action.pose_markers) == 2


@pytest.mark.parametrize("fps", [12, 25, 30, 60])
def test_a_motion_lasts_the_same_seconds_in_every_scene(bpy, lay, folder, fps):
    bpy.context.scene.render.fps = fps
    obj = lay(start=10.0)
    first, last = obj.animation_data.action.frame_range
    assert first == 10
    assert (last - first) / fps == pytest.approx(4.0, abs=1e-6)
    joints = joints_of(folder)
    for second in (0, 1, 3, 4):  # in whole frames of all of these
        bpy.context.scene.frame_set(10 + second * fps)
        assert np.abs(heads(obj, JOINTS) - joints[second * 20]).max() < 1e-5


Y_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
ARMATURES = {
    "SMPL-X": {"names": {name: name for name in JOINTS}},
    "Mixamo": {
        "names": {joint: f"mixamorig:{name}" for joint, name in MIXAMO.items()},
        "size": 0.01,
        "inside": Y_UP,
        "rolls": 6.0,
    },
    "arms down": {
        "names": {joint: f"Boy:{name}" for joint, name in MIXAMO.items()},
        "arms_down": 0.8,
        "rolls": 6.0,
    },
    "few bones": {
        "names": {
            joint: name
            for joint, name in MIXAMO.items()
            if joint not in ("spine2", "left_foot", "right_foot", "left_collar", "right_collar")
        }
    },
}


@pytest.mark.parametrize("kind", [*ARMATURES, "Unreal", "Unreal 5", "VRM"])
def test_limbs_point_where_the_bodys_do(bpy, addon, lay, folder, offsets, kind):
    options = dict(ARMATURES.get(kind, {"arms_down": 0.7, "rolls": 6.0}))
    names = options.pop("names", None) or addon.bone_names.RIGS[kind]
    obj = an_armature(bpy, offsets, names, **options)
    lay("Rig")
    assert angles(bpy, obj, folder, names) < 0.1
    assert obj.animation_data.action.frame_range[1] == 97


def test_a_turned_armature_walks_where_it_faces(bpy, lay, folder, offsets):
    names = ARMATURES["Mixamo"]["names"]
    obj = an_armature(bpy, offsets, names, size=0.01, inside=Y_UP, rolls=6.0)
    cosine, sine = np.cos(2.0), np.sin(2.0)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, (4, 5, 6)
    obj.matrix_world = as_matrix(matrix @ np.array(obj.matrix_world))
    bpy.context.view_layer.update()
    still = heads(obj, [names["left_hip"], names["right_hip"]]).mean(0)
    before = np.array(obj.matrix_world)
    lay("Rig")
    assert angles(bpy, obj, folder, names, turn) < 0.1
    assert np.array_equal(np.array(obj.matrix_world), before)
    joints = joints_of(folder) @ turn.T
    go_to(bpy, 0)
    begin = heads(obj, [names["left_hip"], names["right_hip"]]).mean(0)
    assert np.linalg.norm((begin - still)[:2]) < 0.05
    go_to(bpy, 80)
    went = heads(obj, [names["left_hip"], names["right_hip"]]).mean(0) - begin
    body = joints[80, 1:3].mean(0) - joints[0, 1:3].mean(0)
    legs = 1.3  # as long as the body's
    assert np.allclose(went[:2], body[:2] * legs, atol=0.01)


@pytest.mark.parametrize("mode", ["XYZ", "ZXY", "AXIS_ANGLE"])
def test_bones_keep_their_rotation_mode(bpy, lay, folder, offsets, mode):
    names = ARMATURES["Mixamo"]["names"]
    obj = an_armature(bpy, offsets, names)
    for bone in obj.pose.bones:
        bone.rotation_mode = mode
    lay("Rig")
    assert {bone.rotation_mode for bone in obj.pose.bones} == {mode}
    assert angles(bpy, obj, folder, names) < 0.1


def test_root_motion_and_the_cursor(bpy, lay, offsets):
    names = ARMATURES["SMPL-X"]["names"]
    obj = an_armature(bpy, offsets, names)
    hips = {}
    for root, origin in (("ON", None), ("IN_PLACE", None), ("OFF", None), ("ON", (3.0, 4.0, 5.0))):
        lay("Rig", root_motion=root, origin=origin)
        found = []
        for frame in (0, 40, 80):
            go_to(bpy, frame)
            found.append(heads(obj, ["left_hip", "right_hip"]).mean(0))
        hips[root, origin] = np.array(found)
    on, in_place, off, there = hips.values()
    assert np.ptp(on[:, :2], axis=0).max() > 2
    assert np.ptp(in_place[:, :2], axis=0).max() < 1e-4
    assert np.allclose(in_place[:, 2], on[:, 2], atol=1e-5)
    assert np.ptp(off, axis=0).max() < 0.1  # its pelvis turns
    assert np.allclose(there - on, (there - on)[0], atol=1e-4)
    assert np.allclose((there - on)[0], (3, 4, 5), atol=0.1)


@pytest.fixture(scope="module")
def generated(installed, tmp_path_factory):
    """A file with Rigify's basic metarig and the rig that it generates."""
    import addon_utils

    bpy = installed
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    addon_utils.enable("rigify", default_set=True)
    bpy.ops.object.armature_basic_human_metarig_add()
    bpy.context.object.name = "Metarig"
    bpy.ops.pose.rigify_generate()
    path = tmp_path_factory.mktemp("rigify") / "rig.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    addon_utils.disable("rigify", default_set=True)
    return path


def rigify_names(pattern):
    parts = {
        "hip": "thigh",
        "knee": "shin",
        "ankle": "foot",
        "shoulder": "upper_arm",
        "elbow": "forearm",
        "wrist": "hand",
    }
    return {
        f"{side}_{joint}": pattern.format(part, side[0].upper())
        for side in ("left", "right")
        for joint, part in parts.items()
    }


@pytest.mark.parametrize(("kind", "pattern"), [("metarig", "{}.{}"), ("rig", "ORG-{}.{}")])
def test_rigify(bpy, addon, lay, folder, generated, kind, pattern):
    bpy.ops.wm.open_mainfile(filepath=str(generated))
    obj = bpy.data.objects["Metarig"]
    if kind == "rig":
        obj = next(o for o in bpy.data.objects if o.type == "ARMATURE" and o != obj)
        switch = obj.pose.bones["thigh_parent.L"]
        assert switch["IK_FK"] == 0.0
    bpy.context.scene.frame_set(1)
    name = obj.name
    lay(name)
    obj = bpy.data.objects[name]
    assert angles(bpy, obj, folder, rigify_names(pattern)) < 0.1
    go_to(bpy, 0)
    feet = [pattern.format("foot", side) for side in "LR"]
    rest = min(obj.data.bones[foot].head_local.z for foot in feet)
    low = []
    for frame in range(0, 81, 4):
        go_to(bpy, frame)
        low.append(heads(obj, feet)[:, 2].min())
    assert abs(np.percentile(low, 5) - rest) < 0.35, "it stands about where it stood"
    if kind == "rig":
        switch = obj.pose.bones["thigh_parent.L"]
        assert switch["IK_FK"] == 1.0
        former = obj.animation_data.action
        lay(name, root_motion="IN_PLACE")  # while an action moves it
        assert obj.animation_data.action != former
        assert angles(bpy, obj, folder, rigify_names(pattern)) < 0.1
        bpy.ops.syncsde.motion_revert()
        assert obj.animation_data.action == former
        obj.animation_data.action = None
        addon.actions.remove_strips(obj)
        switch["IK_FK"] = 0.0
        lay(name)
        bpy.ops.syncsde.motion_revert()
        assert switch["IK_FK"] == 0.0
        assert obj.animation_data.action is None


def test_revert_restores_action_and_pose_and_accept_keeps_both_actions(bpy, lay, offsets):
    obj = an_armature(bpy, offsets, ARMATURES["SMPL-X"]["names"])
    obj.pose.bones["left_knee"].location = (0.1, 0.2, 0.3)
    obj.pose.bones["left_knee"].keyframe_insert("location", frame=1)
    obj.pose.bones["head"].rotation_quaternion = (0.8, 0.6, 0, 0)
    own = obj.animation_data.action
    before = {bone.name: np.array(bone.matrix_basis) for bone in obj.pose.bones}
    end = bpy.context.scene.frame_end = 30
    lay("Rig")
    new = obj.animation_data.action.name
    assert own.use_fake_user
    assert bpy.context.scene.frame_end == 97
    bpy.context.scene.frame_set(40)
    assert bpy.ops.syncsde.motion_revert() == {"FINISHED"}
    assert obj.animation_data.action == own
    assert new not in bpy.data.actions
    assert len(obj.animation_data.nla_tracks) == 0
    assert bpy.context.scene.frame_end == end
    for bone in obj.pose.bones:
        assert np.allclose(np.array(bone.matrix_basis), before[bone.name], atol=1e-6)
    lay("Rig")
    assert bpy.ops.syncsde.motion_accept() == {"FINISHED"}
    assert own.use_fake_user
    assert obj.animation_data.action != own
    assert not bpy.ops.syncsde.motion_revert.poll()


def test_revert_takes_a_new_mannequin_with_it(bpy, lay):
    kinds = ("objects", "meshes", "armatures", "actions")
    before = [len(getattr(bpy.data, kind)) for kind in kinds]
    lay()
    assert [len(getattr(bpy.data, kind)) for kind in kinds] != before
    bpy.ops.syncsde.motion_revert()
    assert [len(getattr(bpy.data, kind)) for kind in kinds] == before


def test_a_linked_armature_is_refused_and_its_override_is_animated(
    bpy, lay, sent, folder, offsets, tmp_path
):
    names = ARMATURES["SMPL-X"]["names"]
    an_armature(bpy, offsets, names)
    library = tmp_path / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(library))
    content = library.read_bytes()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.objects = ["Rig"]
    linked = wanted.objects[0]
    bpy.context.collection.objects.link(linked)
    with pytest.raises(RuntimeError, match="Rig is linked from another file: make a library over"):
        bpy.ops.syncsde.motion(prompt="a person walks", target="Rig")
    assert linked.animation_data is None
    override = linked.override_create(remap_local_usages=True)
    override.name = "Override"
    lay("Override")
    override = bpy.data.objects["Override"]
    assert override.library is None
    assert override.data.library is not None, "the armature itself stays linked"
    assert angles(bpy, override, folder, names) < 0.1
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert angles(bpy, bpy.data.objects["Override"], folder, names) < 0.1
    assert library.read_bytes() == content


def onto_rig(addon, folder):
    placement = addon.motions.Placement(target="Rig")
    return addon.results.OntoArmature(placement, addon.motions.build(folder, placement))


def test_keys_are_set_in_slices_with_the_same_result(bpy, addon, lay, folder, offsets, monkeypatch):
    obj = an_armature(bpy, offsets, ARMATURES["SMPL-X"]["names"])
    lay("Rig")

    def curves():
        action = obj.animation_data.action
        return {
            (curve.data_path, curve.array_index): [tuple(key.co) for key in curve.keyframe_points]
            for curve in addon.actions.bag(action).fcurves
        }

    expected = curves()
    assert len(expected) == 22 * 4 + 3
    result = onto_rig(addon, folder)
    monkeypatch.setattr(addon.results, "SLICE_SECONDS", 1e-9)
    said = []
    while each := result.waiting():
        said.append(each)
    assert said[0] == "Reading the Motion"
    assert said[-1] == "Setting Keys 84/91"
    assert len(said) > 8
    assert result.apply(folder / "motion.npz") == ""
    assert curves() == expected


def test_what_is_undone_meanwhile_is_made_again(bpy, addon, folder, offsets, monkeypatch):
    obj = an_armature(bpy, offsets, ARMATURES["SMPL-X"]["names"])
    result = onto_rig(addon, folder)
    monkeypatch.setattr(addon.results, "SLICE_SECONDS", 0.0)
    while "12/91" not in result.waiting():
        pass
    bpy.data.actions.remove(bpy.data.actions[0])
    assert result.waiting() == ""
    assert result.apply(folder / "motion.npz") == ""
    assert len(addon.actions.bag(obj.animation_data.action).fcurves) == 91


def test_waits_for_a_mode_that_shares_the_undo_history(bpy, addon, folder, offsets):
    obj = an_armature(bpy, offsets, ARMATURES["SMPL-X"]["names"])
    result = onto_rig(addon, folder)
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.mode_set(mode="EDIT")
    assert result.waiting() == "Waiting for Object Mode"
    bpy.ops.object.mode_set(mode="POSE")
    assert result.waiting() != "Waiting for Object Mode"


def test_blenders_own_exporters_take_the_motion(bpy, lay, folder, tmp_path):
    obj = lay()
    path = tmp_path / "out.glb"
    bpy.ops.export_scene.gltf(filepath=str(path), export_animation_mode="NLA_TRACKS")
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20 : 20 + length])
    assert len(tree["animations"]) == 1
    assert len(tree["skins"][0]["joints"]) == 22
    import addon_utils

    addon_utils.enable("io_anim_bvh")
    bpy.context.view_layer.objects.active = obj
    path = tmp_path / "out.bvh"
    bpy.ops.export_anim.bvh(
        filepath=str(path), frame_start=1, frame_end=97, root_transform_only=True
    )
    lines = path.read_text().split("\n")
    assert "Frames: 97" in lines
    assert lines[lines.index("Frames: 97") + 1] == "Frame Time: 0.041667"


# What is refused, and what the panel says.


def test_what_is_wrong_is_said_before_the_engine_works(bpy, sent, suzanne, offsets):
    for options, message in (
        ({"prompt": ""}, "Add a segment and describe what happens first"),
        ({"prompt": "a person walks\n"}, "Describe what happens in each segment first"),
        ({"prompt": "a", "target": "Nobody"}, "There is no armature 'Nobody'"),
        ({"prompt": "a", "target": suzanne.name}, "Suzanne is no armature"),
        ({"prompt": "a", "reroll": 1}, "Name the states of a finished motion"),
        ({"prompt": "a", "states": "/nowhere.safetensors"}, "is no longer at /nowhere"),
        ({"prompt": "a", "bones": "knee: Leg"}, "'knee: Leg' is not a joint, a colon and a bone"),
    ):
        with pytest.raises(RuntimeError, match=message):
            bpy.ops.syncsde.motion(**options)
    names = {f"left_{part}": part for part in ("hip", "knee", "ankle", "shoulder", "elbow")}
    an_armature(bpy, offsets, {"pelvis": "a", **{joint: f"b.{j}" for j, joint in enumerate(names)}})
    with pytest.raises(RuntimeError, match=r"Which bones of Rig are Hips, Thigh L, Thigh R"):
        bpy.ops.syncsde.motion(prompt="a", target="Rig")
    with pytest.raises(RuntimeError, match="Rig has no bone 'Leg': choose another for Shin L"):
        bpy.ops.syncsde.motion(prompt="a", target="Rig", bones="left_knee: Leg")
    assert sent == []
    for operator in (bpy.ops.syncsde.motion_extend, bpy.ops.syncsde.motion_reroll):
        with pytest.raises(RuntimeError, match="no motion of ours yet: generate one first"):
            operator(target="Rig")


def test_a_bone_held_by_constraints_is_named(bpy, lay, offsets):
    obj = an_armature(bpy, offsets, ARMATURES["SMPL-X"]["names"])
    limit = obj.pose.bones["left_knee"].constraints.new("LIMIT_ROTATION")
    limit.use_limit_x = limit.use_limit_y = limit.use_limit_z = True
    limit.owner_space = "LOCAL"
    with pytest.raises(RuntimeError, match="Bone 'left_knee' of Rig is held by constraints"):
        lay("Rig")
    limit.mute = True
    lay("Rig")


def test_what_is_sent_is_what_the_panel_says(bpy, sent, offsets):
    obj = an_armature(bpy, offsets, ARMATURES["SMPL-X"]["names"])
    settings = bpy.context.scene.syncsde_motion
    settings.target = obj
    assert {each.name: each.bone for each in settings.bones} == {name: name for name in JOINTS}
    settings.segments.add().prompt = "a person  walks"
    settings.segments.add().prompt = "a person sits down"
    settings.inverse_lambda = 7.5
    assert press(bpy) == {"FINISHED"}
    said = sent[0].parameters
    assert said["prompt"] == ["a person walks", "a person sits down"]
    assert said["inverse_lambda"] == pytest.approx(7.5)
    assert said["reroll"] is None
    assert said["model"] == "mime"
    assert sent[0].inputs == {}
    settings.bones["left_knee"].bone = ""
    with pytest.raises(RuntimeError, match="Which bones of Rig are Shin L"):
        press(bpy)


class Layout:
    """Writes down what a panel draws."""

    def __init__(self, drawn=None):
        self.drawn = [] if drawn is None else drawn
        self.enabled = True

    def prop(self, data, name, **_):
        assert hasattr(data, name)
        self.drawn.append(name)

    def prop_search(self, data, name, _, __, text):
        self.prop(data, name)

    def operator(self, name, **_):
        self.drawn.append(name if self.enabled else f"({name})")
        return types.SimpleNamespace()

    def label(self, text, **_):
        self.drawn.append(text)

    def row(self, **_):
        inner = Layout(self.drawn)
        inner.enabled = self.enabled
        return inner

    column = row

    def separator(self):
        pass

    def template_list(self, kind, *_, **__):
        self.drawn.append(kind)


def draw(bpy, name="motion"):
    layout = Layout()
    getattr(bpy.types, f"SYNCSDE_PT_{name}").draw(types.SimpleNamespace(layout=layout), bpy.context)
    return layout.drawn


def test_panel_offers_what_can_be_done(bpy, lay, an_engine, offsets):
    drawn = draw(bpy)
    assert "(syncsde.motion)" in drawn
    assert "Add a segment and describe" in " ".join(drawn)
    settings = bpy.context.scene.syncsde_motion
    bpy.ops.syncsde.add_segment()
    assert "syncsde.motion" in draw(bpy)
    obj = lay()
    drawn = draw(bpy)
    assert {"syncsde.motion", "syncsde.motion_reroll", "(syncsde.motion_extend)"} <= set(drawn)
    assert {"syncsde.motion_accept", "syncsde.motion_revert"} <= set(drawn)
    bpy.ops.syncsde.add_segment()
    assert "syncsde.motion_extend" in draw(bpy)
    assert "(syncsde.motion_reroll)" in draw(bpy), "what is to come cannot be made again"
    assert draw(bpy, "bones").count("bone") == 22
    bpy.ops.syncsde.motion_accept()
    assert "syncsde.motion_accept" not in draw(bpy)
    settings.bones["left_knee"].bone = ""
    assert "(syncsde.motion)" in draw(bpy)
    bpy.ops.syncsde.guess_bones()
    assert "syncsde.motion" in draw(bpy)
    bpy.data.objects.remove(obj)
    assert "syncsde.motion_reroll" not in draw(bpy)


def test_list_is_changed_by_its_buttons(bpy, lay):
    settings = bpy.context.scene.syncsde_motion
    for prompt in ("one", "two", "three"):
        bpy.ops.syncsde.add_segment()
        settings.segments[-1].prompt = prompt
    bpy.ops.syncsde.move_segment(direction="UP")
    assert [each.prompt for each in settings.segments] == ["one", "three", "two"]
    assert settings.active == 1
    bpy.ops.syncsde.remove_segment()
    assert [each.prompt for each in settings.segments] == ["one", "two"]
    lay()
    assert settings.made() == [0, 1]
    bpy.ops.syncsde.add_segment()
    bpy.ops.syncsde.move_segment(direction="UP")
    bpy.ops.syncsde.move_segment(direction="UP")
    assert settings.to_come() == ("start", [settings.segments[0].prompt])
    settings.active = 1
    bpy.ops.syncsde.move_segment(direction="DOWN")
    assert settings.made() == [], "in another order it is another motion"


def test_states_are_kept_beside_or_in_the_extensions_folder(bpy, addon, folder, tmp_path):
    source = tmp_path / "made"
    shutil.copytree(folder, source)
    (source / "states.safetensors").write_bytes(b"states")
    placement = addon.motion_jobs.with_states(addon.motions.Placement(), None)
    assert Path(placement.states).parent.name == "motions"
    bpy.ops.syncsde.apply_motion(directory=str(source), placement=placement.to_json())
    assert Path(placement.states).read_bytes() == b"states"
    for _ in range(addon.motion_jobs.KEPT + 3):
        other = addon.motion_jobs.with_states(addon.motions.Placement(), None)
        Path(other.states).write_bytes(b"more")
    assert len(list(Path(other.states).parent.glob("*"))) == addon.motion_jobs.KEPT
    Path(placement.states).unlink(missing_ok=True)
    with pytest.raises(RuntimeError, match="extended and made again from is no longer at"):
        bpy.ops.syncsde.motion_extend(prompt="a person bows")
