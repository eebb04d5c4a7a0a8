# SPDX-License-Identifier: GPL-3.0-or-later
"""Texture Suzanne in a real Blender without a window, with the extension installed from its zip.

Twice: from words by the embedded network, mini, and like a picture of the library.

    python tools/demo_scene.py --zip dist/syncsde-0.1.0.zip --engine .venv/bin/syncsde --output demo

Runs with the Python of an environment that has `bpy`. Leaves suzanne.blend, texture.png,
render.png, contact_sheet.png and report.json of the picture in the output folder, and
words_render.png and words_contact_sheet.png of the network.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from math import cos, radians, sin
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import bpy

MODULE = "bl_ext.user_default.syncsde"
FILES = (
    "suzanne.blend",
    "texture.png",
    "render.png",
    "contact_sheet.png",
    "report.json",
    "words_render.png",
    "words_contact_sheet.png",
)
RENDER_SIZE = 512
RENDER_SAMPLES = 24


class Stopwatch:
    """Seconds by stage, in the order they were measured."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        print(f"{stage} ...", flush=True)
        begin = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - begin


def main() -> int:
    options = parse()
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    # Neither the user's preferences nor the user's engine: this run stands for a fresh machine.
    with tempfile.TemporaryDirectory(prefix="syncsde-demo-") as folder:
        os.environ["BLENDER_USER_RESOURCES"] = str(Path(folder) / "blender")
        os.environ["SYNCSDE_STATE_DIR"] = str(Path(folder) / "engine")
        with watch.measure("start Blender"):
            import bpy

            bpy.ops.wm.read_factory_settings(use_empty=True)
        with watch.measure("install the extension"):
            install(options.zip.resolve(), options.engine)
        with watch.measure("build the scene"):
            suzanne = build_scene()
        logging.basicConfig(format="  %(message)s", stream=sys.stdout)
        logging.getLogger(MODULE).setLevel(logging.INFO)
        work = Path(folder) / "result"
        work.mkdir()
        try:
            common = {"seed": options.seed, "directory": str(work)}
            with watch.measure("texture from words, by mini"):
                bpy.ops.syncsde.texture(prompt=options.words, model="mini", **common)
            with watch.measure("render the words"):
                render(work / "words_render.png")
            (work / "contact_sheet.png").replace(work / "words_contact_sheet.png")
            bpy.ops.syncsde.remove_texture()
            with watch.measure("texture"):
                bpy.ops.syncsde.texture(prompt=options.prompt, model=options.model, **common)
            assert suzanne.active_material is not None
            with watch.measure("render"):
                render(work / "render.png")
            bpy.ops.wm.save_as_mainfile(filepath=str(work / "suzanne.blend"), compress=True)
            for name in FILES:
                place(work / name, output / name)
        except RuntimeError as error:  # what an operator reported
            print(str(error).removeprefix("Error: ").strip(), file=sys.stderr)
            return 3
        finally:
            bpy.ops.preferences.addon_disable(module=MODULE)  # ends the engine
    tell(output, watch.seconds)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Texture Suzanne in Blender.")
    parser.add_argument("--zip", type=Path, required=True, help="the built extension")
    parser.add_argument("--engine", required=True, help="the engine's program, syncsde")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    parser.add_argument("--prompt", default="a stone brick statue")
    parser.add_argument("--words", default="a mossy stone statue", help="prompt for mini")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--model", default="auto")
    return parser.parse_args()


def install(zip_path: Path, engine: str) -> None:
    """Install and enable the zip as Blender's preferences do, and choose the engine there."""
    import bpy

    bpy.ops.extensions.package_install_files(
        filepath=str(zip_path), repo="user_default", enable_on_install=True
    )
    bpy.context.preferences.addons[MODULE].preferences.engine = str(Path(engine).absolute())


def build_scene() -> bpy.types.Object:
    """Make Suzanne on a plain backdrop in soft light; return her, active and selected."""
    import bpy

    scene = bpy.context.scene
    backdrop()
    light("Key", location=(-3.0, -4.0, 5.0), energy=420.0, size=3.0)
    light("Fill", location=(4.5, -3.0, 2.5), energy=120.0, size=4.0)
    light("Rim", location=(2.0, 3.5, 4.5), energy=220.0, size=2.0)
    scene.world = bpy.data.worlds.new("World")
    if scene.world.node_tree is None:  # before Blender 5.0
        scene.world.use_nodes = True
    for node in scene.world.node_tree.nodes:
        if node.bl_idname == "ShaderNodeBackground":
            node.inputs["Color"].default_value = (0.55, 0.58, 0.62, 1.0)
            node.inputs["Strength"].default_value = 0.5
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location = (1.9, -5.6, 1.75)
    camera.data.lens = 70.0
    look_at(camera, (0.1, -0.1, 1.02))
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.mesh.primitive_monkey_add(location=(0.0, 0.0, 1.0))
    suzanne = bpy.context.object
    assert suzanne is not None
    bpy.ops.object.shade_smooth()
    subdivision = suzanne.modifiers.new("Subdivision", "SUBSURF")
    subdivision.levels = subdivision.render_levels = 2
    return suzanne


def backdrop() -> None:
    """Add a studio backdrop: a floor that bends up into a wall behind."""
    import bpy

    bend = [radians(angle) for angle in range(0, 91, 6)]
    profile = [(-9.0, 0.0), *((3.0 + 2.0 * sin(a), 2.0 - 2.0 * cos(a)) for a in bend), (5.0, 9.0)]
    vertices = [(x, y, z) for y, z in profile for x in (-12.0, 12.0)]
    faces = [(i, i + 1, i + 3, i + 2) for i in range(0, len(vertices) - 2, 2)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(vertices, [], faces)
    mesh.shade_smooth()
    material = bpy.data.materials.new("Backdrop")
    if material.node_tree is None:  # before Blender 5.0
        material.use_nodes = True
    for node in material.node_tree.nodes:
        if node.bl_idname == "ShaderNodeBsdfPrincipled":
            node.inputs["Base Color"].default_value = (0.32, 0.34, 0.36, 1.0)
            node.inputs["Roughness"].default_value = 0.9
    mesh.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Backdrop", mesh))


def light(name: str, location: tuple[float, float, float], energy: float, size: float) -> None:
    """Add an area light that shines on Suzanne; `energy` in watts, `size` in meters."""
    import bpy

    area = bpy.data.lights.new(name, "AREA")
    area.energy, area.size = energy, size
    lamp = bpy.data.objects.new(name, area)
    lamp.location = location
    look_at(lamp, (0.0, 0.0, 1.0))
    bpy.context.scene.collection.objects.link(lamp)


def look_at(obj: bpy.types.Object, point: tuple[float, float, float]) -> None:
    """Turn a camera or lamp towards a point."""
    from mathutils import Vector

    obj.rotation_euler = (Vector(point) - obj.location).to_track_quat("-Z", "Y").to_euler()


def render(path: Path) -> None:
    """Render with Cycles on the processor, which needs no display."""
    import bpy

    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = RENDER_SAMPLES
    scene.cycles.max_bounces = 4
    try:
        scene.cycles.denoiser = "OPENIMAGEDENOISE"
        scene.cycles.use_denoising = True
    except TypeError:  # built without it
        scene.cycles.use_denoising = False
    scene.render.resolution_x = scene.render.resolution_y = RENDER_SIZE
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(path)
    scene.view_settings.view_transform = "Standard"  # colors as in the texture
    bpy.ops.render.render(write_still=True)


def place(source: Path, target: Path) -> None:
    """Copy a file so that the target is never half-written."""
    partial = target.with_name(target.name + ".part")
    shutil.copyfile(source, partial)
    partial.replace(target)


def tell(output: Path, seconds: dict[str, float]) -> None:
    """Print where the files are and how long each stage took."""
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    engine = report["timings"]
    print("\nSeconds by stage:")
    for stage, value in seconds.items():
        print(f"  {stage:<32}{value:8.1f}")
        if stage == "texture":
            print(f"    {'start the engine, transfer':<30}{value - engine['total']:8.1f}")
            for name, part in engine.items():
                if name not in ("network", "total"):
                    print(f"    {name:<30}{part:8.1f}")
            print(f"    {'(of these inside the networks)':<30}{engine['network']:8.1f}")
    print(f"  {'together':<32}{sum(seconds.values()):8.1f}\n\nFiles:")
    for name in FILES:
        print(f"  {output / name}")


if __name__ == "__main__":
    # Blender as a module may hang or crash in its static destructors once Python has ended.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
