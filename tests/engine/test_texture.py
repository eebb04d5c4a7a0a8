# SPDX-License-Identifier: GPL-3.0-or-later
"""The texture task from mesh to files, on tiny random networks."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from syncsde_engine.errors import InvalidMesh, InvalidRequest
from syncsde_engine.inputs import read
from syncsde_engine.mesh.files.io import load, to_safetensors
from syncsde_engine.mesh.mesh import Mesh
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.method.regions import regions
from syncsde_engine.models.catalog import Settings
from syncsde_engine.request import build
from syncsde_engine.tasks import follow, run
from syncsde_engine.tasks.texture_prompts import (
    prompt_of_faces,
    view_prompts,
    warn_of_small_parts,
)
from tests import meshes
from tests.mesh.rich_gltf import character, chunks
from tests.mesh.shapes import icosphere, join, quad

SMALL = {"prompt": "moss", "steps": 4, "view_size": 64, "texture_size": 64, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh")
    return to_safetensors(load(meshes.save_obj_with_uvs(folder / "ball.obj")))


def finish(generator):
    """All progress, and the files."""
    progress = []
    files = follow(generator, progress.append)
    return progress, files


@pytest.fixture(scope="module")
def texture(tiny_model, mesh):
    def texture(**parameters):
        config = build("texture", {**SMALL, "model": str(tiny_model), **parameters})
        return finish(run("texture", config, {"mesh": mesh}))

    return texture


@pytest.fixture(scope="module")
def terse_model(tiny_model, tmp_path_factory):
    """The same without a prefix, so that a prompt fits into its few tokens."""
    folder = tmp_path_factory.mktemp("models") / "terse"
    shutil.copytree(tiny_model, folder)
    settings = {"prompt_prefix": "", "negative_prompt": ""}
    (folder / "syncsde.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.fixture(scope="module")
def result(texture):
    return texture()


def test_progress_names_every_stage_and_step(result):
    progress, _ = result
    stages = list(dict.fromkeys(event.stage for event in progress))
    assert stages == ["load", "geometry", "views", "bake", "write"]
    views = [(event.step, event.total) for event in progress if event.stage == "views"]
    assert views == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_files_are_what_the_contract_says(result):
    _, files = result
    views = {f"views/{i:02}.png" for i in range(10)}
    expected = {"texture.png", "textured.glb", "contact_sheet.png", "report.json"}
    assert set(files) == views | expected | {"textured.obj", "textured.mtl"}
    texture = np.asarray(Image.open(io.BytesIO(files["texture.png"])))
    assert texture.shape == (64, 64, 3)
    assert texture.std() > 1
    assert Image.open(io.BytesIO(files["views/03.png"])).size == (64, 64)
    scene = trimesh.load_scene(io.BytesIO(files["textured.glb"]), file_type="glb")
    (geometry,) = scene.geometry.values()
    assert len(geometry.faces) == 320


def test_report_says_what_was_done(result):
    report = json.loads(result[1]["report.json"])
    assert report["parameters"]["prompt"] == "moss"
    assert report["parameters"]["control_scale"] == 0.7, "after defaults"
    assert report["network_evaluations"]["unet"] == 4 * 20
    assert report["network_evaluations"]["controlnet"] == 3 * 20, "the last step runs without"
    assert report["network_evaluations"]["vae_decoder"] == 10
    assert abs(sum(report["coverage"].values()) - 1) < 1e-6
    assert report["coverage"]["seen"] > 0.75
    assert 0 < report["disagreement"] < 1
    assert 0 < report["largest_gain"] <= 1
    assert 0 < report["timings"]["network"] <= report["timings"]["total"]
    assert len(report["model_sha256"]) == 64
    assert list(report["textures"].values()) == ["texture.png"]
    assert sum(report["coverage"].values()) == pytest.approx(1)
    assert set(report["seams"]) == {"charts", "views", "elsewhere"}
    assert 0 < report["texel_density"]["low"] <= report["texel_density"]["high"]
    assert report["rasterizer"] == "builtin"
    assert report["device"] == "cpu"


def pixels(outcome):
    return np.asarray(Image.open(io.BytesIO(outcome[1]["texture.png"]))).astype(int)


def test_same_seed_same_bytes_and_other_seed_other_bytes(texture, result):
    assert texture()[1]["texture.png"] == result[1]["texture.png"]
    assert abs(pixels(texture(seed=1)) - pixels(result)).mean() > 1


def test_zero_coupling_is_the_independent_strategy(texture):
    coupled, free = texture(inverse_lambda=0.0), texture(strategy="independent")
    assert coupled[1]["texture.png"] == free[1]["texture.png"]


def test_views_agree_better_when_synchronized(texture, result):
    def disagreement(outcome):
        return json.loads(outcome[1]["report.json"])["disagreement"]

    always = texture(synchronized_share=1.0)
    assert disagreement(always) < 0.95 * disagreement(texture(strategy="independent"))


def test_the_best_source_alone_is_another_result_that_agrees(texture, result):
    best = texture(sources="best")
    assert abs(pixels(best) - pixels(result)).mean() > 0.1
    free = json.loads(texture(strategy="independent")[1]["report.json"])
    assert json.loads(best[1]["report.json"])["disagreement"] < free["disagreement"]


def test_batches_change_rounding_only(texture, result):
    assert abs(pixels(texture(batch_size=3)) - pixels(result)).max() <= 2


def test_a_closed_generator_stops_between_steps(tiny_model, mesh):
    config = build("texture", {**SMALL, "model": str(tiny_model)})
    generator = run("texture", config, {"mesh": mesh})
    for event in generator:
        if event.stage == "views":
            break
    generator.close()
    with pytest.raises(StopIteration):
        next(generator)


def test_inputs_are_checked(tiny_model):
    config = build("texture", {**SMALL, "model": str(tiny_model)})
    with pytest.raises(InvalidRequest, match="'mesh'"):
        next(run("texture", config, {}))
    with pytest.raises(InvalidMesh):
        next(run("texture", config, {"mesh": b"not a mesh"}))


def test_udim_tiles_are_textures_of_their_own(tiny_model, tmp_path):
    mesh = load(meshes.save_obj_with_uvs(tmp_path / "ball.obj"))
    uvs = mesh.uvs + (np.arange(len(mesh.uvs)) >= 300)[:, None] * np.float32([1, 0])
    config = build("texture", {**SMALL, "model": str(tiny_model), "steps": 1})
    blob = to_safetensors(dataclasses.replace(mesh, uvs=uvs.astype(np.float32)))
    _, files = finish(run("texture", config, {"mesh": blob}))
    report = json.loads(files["report.json"])
    names = ["ball.1001", "ball.1002"]
    assert report["textures"] == {name: f"textures/{name}.png" for name in names}
    told = report["mesh"]["textures"]
    assert [(t["name"], t["tile"], t["uv"]) for t in told] == [
        (names[0], 1001, "own"),
        (names[1], 1002, "own"),
    ]
    pictures = [Image.open(io.BytesIO(files[f"textures/{name}.png"])) for name in names]
    assert [picture.size for picture in pictures] == [(64, 64)] * 2
    scene = trimesh.load_scene(io.BytesIO(files["textured.glb"]), file_type="glb")
    assert sorted(len(part.faces) for part in scene.geometry.values()) == [100, 220]


def test_what_is_wrong_with_a_mesh_is_counted_and_the_rest_is_painted(tiny_model, tmp_path):
    mesh = load(meshes.save_obj_with_uvs(tmp_path / "ball.obj"))
    triangles = mesh.triangles.copy()
    triangles[[3, 8]] = [[0, 0, 1], [0, 1, 9999]]
    config = build("texture", {**SMALL, "model": str(tiny_model), "steps": 1})
    blob = to_safetensors(dataclasses.replace(mesh, triangles=triangles))
    _, files = finish(run("texture", config, {"mesh": blob}))
    defects = json.loads(files["report.json"])["mesh"]["defects"]
    assert {name: count for name, count in defects.items() if count} == {
        "out_of_range": 1,
        "repeated_index": 1,
        "unpainted": 2,
    }
    scene = trimesh.load_scene(io.BytesIO(files["textured.glb"]), file_type="glb", process=False)
    (geometry,) = scene.geometry.values()
    assert len(geometry.faces) == 319, "glTF can hold the degenerate one but not the other"


def test_a_tiling_texture_is_refused_with_a_way_out(tiny_model, tmp_path):
    mesh = load(meshes.save_obj_with_uvs(tmp_path / "ball.obj"))
    blob = to_safetensors(dataclasses.replace(mesh, uvs=mesh.uvs * np.float32(2.7)))
    small = {**SMALL, "model": str(tiny_model), "steps": 1}
    with pytest.raises(InvalidMesh, match=r"tiling .*--uv unwrap"):
        finish(run("texture", build("texture", small), {"mesh": blob}))
    again = build("texture", {**small, "uv": "unwrap"})
    report = json.loads(finish(run("texture", again, {"mesh": blob}))[1]["report.json"])
    assert report["mesh"]["textures"][0]["uv"] == "xatlas"


def evaluations(outcome):
    return json.loads(outcome[1]["report.json"])["network_evaluations"]["unet"]


def test_a_prompt_for_all_of_the_mesh_is_the_prompt(texture, terse_model):
    """By way of regions as without them: the same noise but for rounding, in as many rows."""
    terse = {"model": terse_model, "guidance_scale": 8.0, "view_prompts": False}
    plain, by_name = (
        texture(prompt="gold", **terse),
        texture(prompt_for=[["ball", "gold"]], **terse),
    )
    assert abs(pixels(plain) - pixels(texture(**terse))).mean() > 0.1, "prompts make a difference"
    assert abs(pixels(plain) - pixels(by_name)).max() <= 2
    assert evaluations(plain) == evaluations(by_name) == 4 * 20


def test_prompts_for_parts_change_those_parts(terse_model, tmp_path):
    """Two balls far enough apart to be told apart in the views; only what is named changes."""
    ball = load(meshes.save_obj_with_uvs(tmp_path / "ball.obj"))
    two = join(ball, dataclasses.replace(ball, positions=ball.positions + np.float32([3, 0, 0])))
    owner = np.repeat(np.array([0, 1], np.int32), 320)
    two = dataclasses.replace(two, face_object=owner, objects=("left", "right"))
    base = {**SMALL, "model": terse_model, "guidance_scale": 8.0, "strategy": "independent"}
    names = ("left", "right")

    def painted(**parameters):
        config = build("texture", {**base, **parameters})
        outcome = finish(run("texture", config, {"mesh": to_safetensors(two)}))
        files = [io.BytesIO(outcome[1][f"textures/{name}.png"]) for name in names]
        images = [np.asarray(Image.open(file)).astype(int) for file in files]
        return evaluations(outcome), dict(zip(names, images, strict=True))

    count, before = painted()
    more, after = painted(prompt_for=[["right", "lava"]])
    assert count == 4 * 20
    assert count < more <= 4 * 30, "at most two wanted rows a view and one unwanted"
    changed = {name: abs(before[name] - after[name]).mean() for name in before}
    assert changed["right"] > 2 * changed["left"]


def test_parts_too_small_for_a_prompt_are_told(caplog):
    config = build("texture", {"prompt": "a", "prompt_for": [["eye", "b"], ["hat", "c"]]})
    owner = torch.zeros(2, 32, 32, dtype=torch.int64)
    owner[0, :8, :8], owner[1, 8:12, :4] = 1, 1
    warn_of_small_parts(config, regions(owner, 4))
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in told] == [
        "'eye' takes at most 4 latent cells of a view",
        "'hat' takes too little of a view",
    ]


def test_a_name_that_the_mesh_does_not_have_is_told_before_anything_is_loaded(mesh):
    config = build("texture", {**SMALL, "model": "absent", "prompt_for": [["bal", "gold"]]})
    with pytest.raises(InvalidRequest, match=r"'bal' .* Do you mean 'ball'") as caught:
        next(run("texture", config, {"mesh": mesh}))
    assert caught.value.field == "prompt_for"
    assert "It has 'ball', 'material'" in caught.value.hint


def test_shared_attention_is_for_one_prompt():
    given = {"prompt": "a", "prompt_for": [["ball", "b"]], "shared_attention": "ring"}
    with pytest.raises(InvalidRequest, match="one prompt each"):
        build("texture", given)


def test_names_mean_objects_and_materials_and_later_ones_win():
    mesh = dataclasses.replace(
        join(*[quad(0.5)] * 3),
        face_object=np.array([0, 0, 1, 1, 2, 2], np.int32),
        face_material=np.array([0, 1, 0, 1, 0, 1], np.int32),
        objects=("a", "b", "iron"),
        materials=("wood", "iron"),
    )

    def of(*names):
        given = [[name, "x"] for name in names]
        config = build("texture", {"prompt": "p", "prompt_for": given})
        return prompt_of_faces(config, mesh).tolist()

    assert of("b") == [0, 0, 1, 1, 0, 0]
    assert of("iron") == [0, 1, 0, 1, 1, 1]
    assert of("a", "iron") == [1, 2, 0, 2, 2, 2]
    assert of("iron", "a") == [2, 2, 0, 1, 1, 1]


def test_prompts_follow_the_papers_directions():
    config = build("texture", {"prompt": " a dog "})
    settings = Settings(prompt_prefix="Best ", negative_prompt="blurry")
    prompts, unwanted = view_prompts(config, settings, paper_cameras())
    assert prompts[0] == "Best a dog, back view"
    assert prompts[4] == "Best a dog, front view"
    assert prompts[6] == "Best a dog, side view"
    assert unwanted[4] == unwanted[8] == "blurry"
    assert unwanted[0] == "blurry, front view"
    prompts, unwanted = view_prompts(config, Settings(negative_prompt=""), paper_cameras())
    assert set(unwanted) == {""}
    plain = build("texture", {"prompt": "a dog", "view_prompts": False})
    assert set(view_prompts(plain, settings, paper_cameras())[0]) == {"Best a dog"}


@pytest.mark.parametrize(
    "strategy", ["synctweedies", "multidiffusion", "visual-anagrams", "syncmvd"]
)
def test_every_strategy_makes_views_that_agree_better(texture, strategy):
    together = json.loads(texture(strategy=strategy)[1]["report.json"])
    free = json.loads(texture(strategy="independent")[1]["report.json"])
    assert together["disagreement"] < free["disagreement"]
    assert together["strategy"] == strategy


def test_shared_attention_changes_the_views_and_needs_them_all_at_once(texture, result):
    assert abs(pixels(texture(shared_attention="ring")) - pixels(result)).mean() > 0.1
    with pytest.raises(InvalidRequest, match="batch_size 5"):
        texture(shared_attention="ring", batch_size=5)


def test_every_state_of_the_sampler_is_told(result):
    states = [event.state for event in result[0] if event.state is not None]
    assert [state.step.index for state in states] == [0, 1, 2, 3]
    assert states[0].y.shape == (10, 4, 8, 8)


def report_of(outcome):
    return json.loads(outcome[1]["report.json"])


def test_the_front_is_painted_first_and_the_papers_order_can_be_had(texture, result):
    def azimuths(outcome):
        return [camera["azimuth"] for camera in report_of(outcome)["cameras"]]

    assert azimuths(result)[0] == 0
    paper = texture(order="paper", steps=1)
    assert azimuths(paper) == [180, 225, 270, 315, 0, 45, 90, 135, 0, 180]


def test_extra_cameras_see_what_the_rig_does_not(texture):
    report = report_of(texture(cameras=1, extra_cameras=3, steps=1, shared_attention="ring"))
    assert len(report["cameras"]) == 4
    seen = report["seen_with_extra_cameras"]
    assert len(seen) == 4
    assert seen[0] < 0.5 < 0.7 < seen[-1]
    assert report["coverage"]["seen"] > seen[0]


def test_views_of_another_shape_and_without_perspective(texture):
    outcome = texture(cameras=4, aspect=0.66, orthographic=True, steps=1)
    assert Image.open(io.BytesIO(outcome[1]["views/03.png"])).size == (64, 96)
    assert report_of(outcome)["coverage"]["seen"] > 0.6
    assert {"ortho_scale"} <= set(report_of(outcome)["cameras"][0])


@pytest.mark.parametrize(
    ("viewpoint", "sentence"),
    [
        ({"position": [0, 0, 9], "look_at": [0, 0, 99]}, "sees nothing of the mesh"),
        ({"position": [1, 1, 1], "look_at": [1, 1, 1]}, "it stands where it looks at"),
        ({"position": [0, 9, 0], "look_at": [0, 0, 0]}, "its up points along its view"),
    ],
)
def test_a_camera_that_is_of_no_use_is_told(texture, viewpoint, sentence):
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        texture(viewpoints=[viewpoint])
    assert caught.value.field == "viewpoints"


def box_in_a_box() -> bytes:
    boxes = [trimesh.creation.box(extents=(side, side, side)) for side in (2.0, 1.0)]
    corners, faces = [box.vertices for box in boxes], [box.faces for box in boxes]
    return to_safetensors(
        Mesh(
            np.vstack(corners).astype(np.float32),
            np.vstack([faces[0], faces[1] + len(corners[0])]).astype(np.int32),
            face_object=np.repeat(np.array([0, 1], np.int32), 12),
            objects=("crate", "content"),
        )
    )


def test_views_that_see_the_edge_of_a_plane_are_left_out(tiny_model, caplog):
    """Of the paper's ten cameras eight stand on the horizon of a floor."""
    config = build("texture", {**SMALL, "model": str(tiny_model)})
    plane = to_safetensors(
        dataclasses.replace(quad(1.0), positions=quad(1.0).positions[:, [0, 2, 1]])
    )
    _, files = finish(run("texture", config, {"mesh": plane}))
    assert "8 of 10 views show nothing and are left out" in caplog.text
    report = json.loads(files["report.json"])
    assert [round(camera["elevation"]) for camera in report["cameras"]] == [30, 30]
    assert report["coverage"]["seen"] > 0.8
    assert {"views/00.png", "views/01.png"} == {name for name in files if name.startswith("views")}


def test_a_mesh_that_no_camera_sees_is_refused(tiny_model):
    config = build("texture", {**SMALL, "model": str(tiny_model), "cameras": 4})
    plane = to_safetensors(
        dataclasses.replace(quad(1.0), positions=quad(1.0).positions[:, [0, 2, 1]])
    )
    with pytest.raises(InvalidRequest, match="No camera sees anything") as caught:
        finish(run("texture", config, {"mesh": plane}))
    assert caught.value.field == "cameras"


def test_an_object_that_no_view_shows_is_told(tiny_model, caplog):
    config = build("texture", {**SMALL, "model": str(tiny_model)})
    finish(run("texture", config, {"mesh": box_in_a_box()}))
    assert "'content' is seen by no view and stays gray" in caplog.text
    assert "'crate'" not in caplog.text


def test_a_draft_has_no_rings_beside_given_cameras():
    view = {"position": [0, 0, 3]}
    draft = build("texture", {"prompt": "moss", "quality": "draft", "viewpoints": [view]})
    assert (draft.cameras, draft.steps) == (None, 12)


def test_a_run_gives_back_the_file_that_came_in(tiny_model, tmp_path):
    config = build("texture", {**SMALL, "model": str(tiny_model), "steps": 1, "cameras": 2})
    path = character().write(tmp_path / "a.glb")
    _, files = finish(run("texture", config, {"mesh": read("mesh", path)}))
    before, _ = chunks(path.read_bytes())
    after, _ = chunks(files["textured.glb"])
    for kind in ("nodes", "skins", "animations", "cameras", "extensions"):
        assert after[kind] == before[kind], kind
    (was,), (now,) = (each["meshes"][0]["primitives"] for each in (before, after))
    assert now["attributes"].pop("COLOR_1") == was["attributes"].pop("COLOR_0")
    assert now["attributes"].pop("COLOR_0") == len(before["accessors"])
    assert now == was
    assert "Vertex colors" in json.loads(files["report.json"])["mesh"]["warnings"][-1]
    view = after["bufferViews"][after["images"][0]["bufferView"]]
    assert view["byteLength"] == len(files["texture.png"])


def test_a_coverage_is_reached_through_what_hides_the_rest(texture, tiny_model):
    """A ball inside of a ball: half of the texture is seen by no view from outside."""
    inner, outer = icosphere(1), icosphere(2)
    mesh = Mesh(
        np.concatenate([outer.positions, inner.positions * np.float32(0.5)]),
        np.concatenate([outer.triangles, inner.triangles + len(outer.positions)]),
        face_object=np.repeat(np.arange(2, dtype=np.int32), [320, 80]),
        objects=("outer", "inner"),
    )
    blob = to_safetensors(mesh)
    small = {**SMALL, "model": str(tiny_model), "steps": 1, "cameras": 6}
    plain = report_of(finish(run("texture", build("texture", small), {"mesh": blob})))
    config = build("texture", {**small, "coverage": 0.9})
    report = report_of(finish(run("texture", config, {"mesh": blob})))
    seen = report["seen_with_extra_cameras"]
    assert seen[0] < 0.9 <= seen[-1]
    assert len(report["cameras"]) == 6 + len(seen) - 1
    assert {camera.get("layer", 0) for camera in report["cameras"]} >= {0, 1}
    assert report["coverage"]["seen"] > plain["coverage"]["seen"] + 0.05
    reached = report["coverage"]["seen"] >= 0.9
    assert any("not the 90.0% asked for" in told for told in report["mesh"]["warnings"]) != reached
