# SPDX-License-Identifier: GPL-3.0-or-later
"""Several objects and textures in one run: nothing of one object is ever painted on another."""

import io
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from syncsde_engine.mesh.bake import gather as gathering
from syncsde_engine.mesh.bake.blend import bake
from syncsde_engine.mesh.bake.fill import fill
from syncsde_engine.mesh.bake.texels import used_texels
from syncsde_engine.mesh.intake.charts import chart_unwrap
from syncsde_engine.mesh.mesh import Mesh, normalize
from syncsde_engine.mesh.raster.rasterize import rasterizer
from syncsde_engine.mesh.views import pairs, silhouettes
from syncsde_engine.mesh.views.cameras import paper_cameras
from syncsde_engine.mesh.views.maps import object_of, view_maps
from syncsde_engine.mesh.views.pairs import view_to_view
from syncsde_engine.mesh.views.render import render
from syncsde_engine.mesh.views.scene import observe
from syncsde_engine.tasks.texture_files import files_of, texture_files
from tests.mesh.shapes import icosphere, join, plain_uvs, quad, touching

SIDE = 128
COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def scene():
    return observe(touching(), paper_cameras(), rasterizer("builtin"))


@pytest.fixture(scope="module")
def views(scene):
    """Each object in its own color, on white."""
    owner = object_of(scene, view_maps(scene, SIDE).face)
    table = torch.cat([COLORS, torch.ones(1, 3)])
    return table[owner.long()].movedim(-1, 1).contiguous()


@pytest.mark.parametrize("compiled", [True, False])
def test_views_are_paired_within_objects_only(scene, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(pairs, "pair_pixels", None)
    overlap = view_to_view(scene, 48)
    owner = object_of(scene, view_maps(scene, 48).face).flatten()
    assert torch.equal(owner[overlap.looks], owner[overlap.source])
    assert set(owner[overlap.looks].tolist()) == {0, 1, 2}
    far = overlap.looks // overlap.pixels != overlap.source // overlap.pixels
    assert far.sum() > 1000


@pytest.mark.parametrize("compiled", [True, False])
def test_every_texel_has_the_color_of_its_object(scene, views, compiled, monkeypatch):
    """The plate lies closer to the box than the depth test can tell apart."""
    if not compiled:
        monkeypatch.setattr(gathering, "gather_texels", None)
        monkeypatch.setattr(silhouettes, "_clear", None)
    texels = used_texels(scene, 96)
    baked = bake(scene, views, texels)
    painted = baked.weight > 0
    assert 0.3 < painted.float().mean() < 0.95
    expected = COLORS[texels.owner().long()]
    torch.testing.assert_close(baked.color[painted], expected[painted], atol=1e-5, rtol=0)
    filled = fill(baked).view(-1, 3)[texels.place]
    torch.testing.assert_close(filled, expected, atol=1e-5, rtol=0)


def test_an_object_as_thin_as_a_pixel_has_its_color():
    """Beside it every view shows something else, so none of its pixels is beyond doubt."""
    box = replace(plain_uvs(icosphere(3)), textures=("one",))
    wire = trimesh.creation.cylinder(0.006, segment=[[-1.3, -1, 0], [-1.3, 1, 0]])
    wire = Mesh(wire.vertices.astype(np.float32), wire.faces.astype(np.int32))
    both = chart_unwrap(join(box, plain_uvs(wire)), 128, 4)
    owner = np.repeat(np.int32([0, 1]), [len(box.triangles), len(wire.triangles)])
    mesh, _ = normalize(replace(both, face_object=owner, objects=("box", "wire")))
    scene = observe(mesh, paper_cameras(), rasterizer("builtin"))
    owners = object_of(scene, view_maps(scene, SIDE).face)
    assert 0 < (owners == 1).sum() < 2000
    views = torch.cat([COLORS[:2], torch.ones(1, 3)])[owners.long()].movedim(-1, 1)
    texels = used_texels(scene, 128)
    filled = fill(bake(scene, views.contiguous(), texels)).view(-1, 3)[texels.place]
    thin = filled[texels.owner() == 1]
    assert len(thin) > 20
    assert thin[:, 1].mean() > 0.4, "its own green, if mixed with what is beside"
    assert (filled[texels.owner() == 0] - COLORS[0]).abs().max() < 1e-5


def test_an_object_that_nobody_saw_takes_no_color_from_others(scene, views):
    """It becomes gray; so does its gutter, which is nearest to it."""
    texels = used_texels(scene, 96)
    baked = bake(scene, views, texels)
    trust = baked.trust.where(texels.owner() != 2, 0.0)
    filled = fill(replace(baked, trust=trust)).view(-1, 3)[texels.place]
    assert (filled[texels.owner() == 2] == 0.5).all()
    assert (filled[texels.owner() == 1] - COLORS[1]).abs().max() < 1e-5


def test_textures_are_what_each_would_be_alone(scene):
    """Texels of two textures are those of the first, then those of the second."""
    both = used_texels(scene, 64)
    assert both.textures == 2
    on = torch.tensor(scene.mesh.owners("texture"))[both.face.long()]
    assert torch.equal(on, (both.place // 64**2).int())
    assert (both.place.diff() > 0).all()
    for k in range(2):
        faces = np.flatnonzero(scene.mesh.owners("texture") == k)
        alone = replace(
            scene.mesh,
            triangles=scene.mesh.triangles[faces],
            uv_triangles=scene.mesh.uv_triangles[faces],
            face_object=None,
            face_texture=None,
            textures=("one",),
        )
        single = used_texels(observe(alone, scene.cameras[:1], scene.rasterizer, 64), 64)
        mine = both.place // 64**2 == k
        assert torch.equal(both.place[mine] - k * 64**2, single.place)
        assert torch.equal(both.face[mine], torch.tensor(faces)[single.face.long()].int())
        torch.testing.assert_close(both.position()[mine], single.position())


def test_each_face_is_drawn_with_its_texture(scene):
    textures = torch.stack([torch.full((8, 8, 3), 0.25), torch.full((8, 8, 3), 0.75)])
    images = render(scene, textures, 64, background=0.0)
    face = view_maps(scene, 64).face
    on = torch.tensor(scene.mesh.owners("texture"))[face.long()]
    expected = torch.where(face < 0, 0.0, torch.where(on == 0, 0.25, 0.75))
    torch.testing.assert_close(images, expected[:, None].expand(-1, 3, -1, -1))


def test_gutters_stay_within_their_texture(scene, views):
    """The first texture is of the red box alone, so all of it is red, gutters included."""
    red = fill(bake(scene, views, used_texels(scene, 96)))[0]
    torch.testing.assert_close(red, COLORS[0].expand(96, 96, 3), atol=1e-5, rtol=0)


def test_several_textures_are_several_files(scene, views):
    textures = torch.stack([torch.full((16, 16, 3), 0.25), torch.full((16, 16, 3), 0.75)])
    files, _ = files_of(scene, views, scene.mesh, textures, "two", {})
    assert {"textures/wood.png", "textures/metal.png"} < set(files)
    assert "texture.png" not in files
    loaded = trimesh.load_scene(io.BytesIO(files["textured.glb"]), file_type="glb")
    found = set()
    for node in loaded.graph.nodes_geometry:
        geometry = loaded.geometry[loaded.graph[node][1]]
        image = np.asarray(geometry.visual.material.baseColorTexture)
        found.add((node, geometry.visual.material.name, len(geometry.faces), image[0, 0, 0]))
    assert {(material, gray) for _, material, _, gray in found} == {("wood", 64), ("metal", 191)}
    assert [node for node, *_ in sorted(found)] == sorted(scene.mesh.objects)
    assert sum(count for *_, count, _ in found) == len(scene.mesh.triangles)


def test_file_names_are_safe_and_distinct():
    names = ["Skin.1001", "a/b", "a\\b", "../..", "A_B", "", "\u6728", "x" * 300]
    assert texture_files(names) == [
        "textures/Skin.1001.png",
        "textures/a_b.png",
        "textures/a_b-2.png",
        "textures/_.png",
        "textures/A_B-3.png",
        "textures/texture.png",
        "textures/\u6728.png",
        f"textures/{'x' * 100}.png",
    ]
    assert texture_files(["anything/"]) == ["texture.png"]


def test_file_names_fit_every_file_system():
    """Bytes count, not letters; devices of Windows and forms of one letter are no names."""
    long = ["\u6728" * 100, "\u6728" * 100, "y" * 300 + ".1001", "y" * 300 + ".1002"]
    devices = ["CON", "nul.txt", "Com1", "com\u00b9", "lpt9.a.b", "console", "aux."]
    forms = ["e\u0301", "\u00e9", "\u00c9", "\ufb01", "fi", "A.1001", "a.1001"]
    files = texture_files([*long, *devices, *forms])
    stems = [file.removeprefix("textures/").removesuffix(".png") for file in files]
    assert max(len(stem.encode()) for stem in stems) <= 110
    assert stems[2:4] == ["y" * 95 + ".1001", "y" * 95 + ".1002"]
    assert stems[4:11] == [
        "_CON",
        "_nul.txt",
        "_Com1",
        "_com\u00b9-2",
        "_lpt9.a.b",
        "console",
        "_aux",
    ]
    assert stems[-2:] == ["A.1001", "a-2.1001"]
    folded = {unicodedata.normalize("NFKC", stem).casefold() for stem in stems}
    assert len(folded) == len(stems)


def test_one_texture_of_one_object_needs_no_arrays():
    scene = observe(quad(0.5), paper_cameras()[4:5], rasterizer("builtin"), 64)
    texels = used_texels(scene, 16)
    assert (texels.textures, texels.owner().unique().tolist()) == (1, [0])
