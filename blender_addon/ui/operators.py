# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators of textures: generate, copy that as a command, cancel any job."""

# Postponed annotations would hide the properties from Blender: no `from __future__` here.
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..client import engine
from ..client.tensors import tensors_to_bytes
from ..jobs import results, session
from ..jobs.job import Request
from ..library import catalog, own_pictures
from ..properties import sampling
from ..properties.texture import LikeMaterial, TextureImages, TextureLines, TextureParameters
from ..scene import images, like_material, material, parts, textures, viewpoints
from ..scene.export_mesh import MeshError, export, join, names_of
from . import preferences

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems


BUSY = "One job at a time: wait for it, or cancel it"
NOTHING = "Describe the surface in the prompt, or choose a picture that it looks like, first."


class WhenIdle:
    """Operators that cannot be called while a job runs."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set(BUSY)
        return not session.is_running()


def begin(
    operator: bpy.types.Operator, request: Request, result: results.Result
) -> "set[OperatorReturnItems]":
    """Start a job; in background, where no timer would advance it, see it to its end."""
    session.start(request, result, about(bpy.context, request.task))
    error = session.wait() if bpy.app.background else ""
    if not error:
        return {"FINISHED"}
    operator.report({"ERROR"}, error)
    return {"CANCELLED"}


def fail(
    operator: bpy.types.Operator, task: str, error: str | Exception
) -> "set[OperatorReturnItems]":
    """Say what is wrong, in the panel also, as long as its settings are as they are now."""
    message, missing = str(error), isinstance(error, engine.NotInstalled)
    session.fail(task, message, about(bpy.context, task), "unavailable" if missing else "")
    operator.report({"ERROR"}, message)
    return {"CANCELLED"}


def about(context: bpy.types.Context, task: str) -> str:
    """What the panel asks for now, to see whether an error is still of that."""
    if task == "motion":
        settings = context.scene.syncsde_motion
        return repr((settings.arguments(), settings.place()))
    if task != "texture":
        return repr(getattr(context.scene.syncsde_image, task).arguments())
    names = [obj.name for obj in chosen(context)]
    return repr((of_panel(context), names, results.mode_of(context)))


def chosen(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The mesh objects that are selected or active, in the order of the view layer."""
    picked = [*context.selected_objects, context.object]
    return [o for o in context.view_layer.objects if o in picked and o.type == "MESH"]


def middle(context: bpy.types.Context) -> bpy.types.Object:
    """The object around which the others are seen: the active one, if it is chosen."""
    objects = chosen(context)
    return context.object if context.object in objects else objects[0]


def selected_cameras(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected camera objects, in the order of the view layer."""
    picked = context.selected_objects
    return [o for o in context.view_layer.objects if o in picked and o.type == "CAMERA"]


def why_not(context: bpy.types.Context) -> str:
    """Say why what is chosen cannot be textured, or nothing if it can."""
    objects = chosen(context)
    if not objects:
        return "Select a mesh object"
    for obj in objects:
        if not obj.is_editable:
            return f"{obj.name} is linked from another file: make a library override of it first"
        if not obj.data.is_editable and not (obj.material_slots and obj.data.uv_layers):
            what = "UV layer" if obj.material_slots else "material slot"
            return f"The mesh of {obj.name} is linked and has no {what}: add one in its own file"
    return ""


class SYNCSDE_OT_texture(
    TextureParameters,
    TextureLines,
    TextureImages,
    LikeMaterial,
    sampling.KeptFiles,
    bpy.types.Operator,
):
    """Generate textures for the selected objects from the prompt, or like a picture"""

    bl_idname = "syncsde.texture"
    bl_label = "Generate Texture"
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = BUSY if session.is_running() else why_not(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Take what the caller left open from the panel."""
        if (missing := not_ready(context)) and not self.viewpoints:
            return fail(self, "texture", missing)
        sampling.fill(self, of_panel(context))
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        if not (self.prompt.strip() or self.like or self.material or self.like_material):
            return fail(self, "texture", NOTHING)
        folder = session.temporary_folder()
        try:
            kept = sampling.kept_folder(self)
            program = preferences.find_engine_program()
            tensors, targets = read_objects(context, folder, self.uv == "unwrap")
            cameras = viewpoints.read(context, middle(context), self.viewpoints)
            known = parts.names_of(chosen(context))
            prompts = parts.prompts(self.prompt_for, known)
            likes = dict(parts.likes(self.like_for, known))
            named = {name: getattr(self, name) for name in sampling.fields(TextureImages)}
            named |= {f"like_{number}": each for number, each in enumerate(likes.values(), start=1)}
            given = parts.views(self.view_for)
            named |= {f"view_{place}": image for place, (_, image) in enumerate(given, start=1)}
            named = {each: image for each, image in named.items() if image}
            if self.repaint_mask and not self.keep:
                named["keep"] = shown_name(context)
            pictures = images.read_named(named)
            if "repaint_mask" in pictures:  # the engine has it the other way round
                if self.keep_mask:
                    raise images.ImageError("Give Keep Mask or Repaint Mask, not both.")
                pictures["keep_mask"] = inverted(pictures.pop("repaint_mask"))
                named["keep_mask"] = named.pop("repaint_mask")
            if self.like_material:
                pictures |= like_material.read(like_material.find(self.like_material))
            own = catalog.to_send(self, prompts, likes)
            if self.like_material:
                own.pop("", None)
            names = parts.at_most([*likes, *(each for each in own if each and each not in likes)])
            sent = own_pictures.inputs(own, names)
        except (
            engine.NotInstalled,
            MeshError,
            parts.LineError,
            viewpoints.CameraError,
            images.ImageError,
            sampling.FolderError,
        ) as error:
            return fail(self, "texture", error)
        paths = images.paths_of(named) | {name: each.path for name, each in sent.items()}
        maps = own_pictures.maps_beside(paths) if self.maps else {}
        parameters = sampling.to_job(self, TextureParameters)
        parameters |= {"viewpoints": cameras, "prompt_for": prompts}
        parameters["like_for"] = names
        parameters["view_for"] = [number for number, _ in given]
        if "" in own:
            parameters["material"] = None  # the engine does not have it
            if own.keys() == {""} and not likes and own[""].material.tile != 1:
                parameters["tile_size"] = parameters["tile_size"] or own[""].material.tile
        if "keep" in pictures:
            parameters["texture_size"] = len(pictures["keep"])
        if self.uv == "unwrap":  # done, by Blender, in a UV layer
            parameters["uv"] = "auto"
        request = Request(
            program=program,
            task="texture",
            parameters=parameters,
            inputs={
                "mesh": lambda: tensors_to_bytes(tensors),
                **{name: partial(images.png_slices, pixels) for name, pixels in pictures.items()},
                **{name: each.content for name, each in sent.items()},
                **{name: path.read_bytes for name, path in maps.items()},
            },
            directory=kept or folder,
            folder=folder,
            file=textures.REPORT,
            keep_all=kept is not None,
            also=(*textures.FILES, textures.VIEWS),
            images={
                **named,
                **({"like": self.like_material} if self.like_material else {}),
                **{name: each.title for name, each in sent.items()},
                **{name: path.name for name, path in maps.items()},
            },
        )
        like = self.like or self.like_material
        title = images.shorten(images.title(self.prompt, self.material, like))
        return begin(self, request, results.OntoObjects(targets, title))


def inverted(mask: np.ndarray) -> np.ndarray:
    """White where a mask (H, W, 1, 3 or 4) uint8 is black or transparent; without alpha."""
    if mask.shape[2] == 4:
        mask = (mask[..., :3] * (mask[..., 3:] / np.float32(255)) + 0.5).astype(np.uint8)
    return 255 - mask


def shown_name(context: bpy.types.Context) -> str:
    """The name of the texture that the object in the middle shows. Raises ImageError."""
    image = material.shown_image(middle(context))
    if image is None:
        raise images.ImageError(
            f"{middle(context).name!r} shows no generated texture: choose what to repaint in Keep."
        )
    return image.name


def not_ready(context: bpy.types.Context) -> str:
    """Say what the panel's settings want that is not there, or nothing."""
    if context.scene.syncsde.selected_cameras and not selected_cameras(context):
        return "Selected Cameras is on: select cameras beside the objects, or turn it off."
    return ""


def of_panel(context: bpy.types.Context) -> dict[str, Any]:
    """What the panel says of the next texture, as the operator takes it."""
    settings = context.scene.syncsde
    values = {name: getattr(settings, name) for name in sampling.fields(TextureParameters)}
    values["prompt_for"] = "\n".join(parts.own_prompts(chosen(context)))
    values["like_for"] = "\n".join(parts.own_likes(chosen(context)))
    for name in sampling.fields(TextureImages):
        image = getattr(settings, name)
        values[name] = image.name if image else ""
    values |= sampling.like_arguments(settings)
    values["like_material"] = sampling.like_material_of(settings)
    if settings.selected_cameras:
        values["viewpoints"] = "\n".join(camera.name for camera in selected_cameras(context))
    return values


def read_objects(
    context: bpy.types.Context, folder: Path, unwrap: bool
) -> tuple[dict[str, np.ndarray], list[textures.Target]]:
    """Export what is chosen, around the active object. Raises MeshError.

    UV layers that the meshes do not have yet go to files in the folder.
    """
    objects = chosen(context)
    origin, names = middle(context).matrix_world.translation.copy(), names_of(objects)
    parts, targets = [], []
    for number, obj in enumerate(objects):
        if unwrap and not obj.data.is_editable:
            raise MeshError(f"The mesh of {obj.name!r} is linked: set UVs to Auto or Keep.")
        part = export(context, obj, origin, unwrap=unwrap, names=names)
        uv_filepath = ""
        if part.new_uvs is not None:
            uv_filepath = str(folder / f"uv_{number}.npy")
            np.save(uv_filepath, part.new_uvs)
        parts.append(part)
        targets.append(textures.target(obj, part, uv_filepath))
    return join([target.name for target in targets], parts), targets


def as_python(operator: str, values: dict[str, Any]) -> str:
    """The call of an operator in a script, without what is so by default."""
    rna = getattr(bpy.ops.syncsde, operator).get_rna_type().properties
    said = {name: value for name, value in values.items() if value != rna[name].default}
    return f"bpy.ops.syncsde.{operator}({', '.join(f'{n}={v!r}' for n, v in said.items())})"


class SYNCSDE_OT_copy_command(bpy.types.Operator):
    """Copy what Generate does now as a line of Python, for scripts and blender --python"""

    bl_idname = "syncsde.copy_command"
    bl_label = "Copy Command"
    bl_options = {"REGISTER"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        command = as_python("texture", of_panel(context))
        context.window_manager.clipboard = command
        self.report({"INFO"}, f"Copied: {command}")
        return {"FINISHED"}


class SYNCSDE_OT_cancel(bpy.types.Operator):
    """Stop generating; everything stays as it is"""

    bl_idname = "syncsde.cancel"
    bl_label = "Cancel"
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Nothing is being generated")
        return session.is_running()

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        session.cancel()
        return {"FINISHED"}


CLASSES = (
    SYNCSDE_OT_texture,
    SYNCSDE_OT_copy_command,
    SYNCSDE_OT_cancel,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
