# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a job's result goes: onto an object, or into a new image.

Neither keeps a datablock, because undo and file load replace those while the engine works.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import bpy

NAME_LENGTH = 48  # bytes of a material or image; Blender's limit was 63 before 5.0


class Result(Protocol):
    """What becomes of the file that a job was done for."""

    def waiting(self) -> str:
        """Say what the artist must do first, or nothing; never asked in background."""
        ...

    def apply(self, filepath: Path) -> str:
        """Use the file; return what went wrong in one sentence, or nothing."""
        ...


@dataclass(frozen=True)
class OntoObject:
    """The texture of a mesh object."""

    session_uid: int
    object_name: str
    material_name: str
    uv_layer: str
    uv_filepath: str  # of a UV layer that the mesh does not have yet, or nothing

    def waiting(self) -> str:
        """Applying would throw the artist out of a mode, whose undo history is its own."""
        obj = self._find()
        busy = obj is not None and (bpy.context.mode != "OBJECT" or obj.mode != "OBJECT")
        return "Waiting for Object Mode" if busy else ""

    def apply(self, filepath: Path) -> str:
        obj = self._find()
        if obj is None:
            return f"{self.object_name!r} is gone; its texture is {filepath}."
        try:
            # True: an operator called from a timer pushes its undo step only when told to.
            bpy.ops.syncsde.apply_texture(
                "EXEC_DEFAULT",
                True,
                filepath=str(filepath),
                object_name=obj.name,
                material_name=self.material_name,
                uv_layer=self.uv_layer,
                uv_filepath=self.uv_filepath,
            )
        except RuntimeError as error:
            return sentence(error)
        return ""

    def _find(self) -> bpy.types.Object | None:
        return next((o for o in bpy.data.objects if o.session_uid == self.session_uid), None)


@dataclass(frozen=True)
class NewImage:
    """An image of its own, shown in the Image Editor it was asked for in."""

    name: str
    editor: int = 0  # the area's address, or 0

    def waiting(self) -> str:
        return ""

    def apply(self, filepath: Path) -> str:
        # Other modes have an undo history of their own, which knows no images.
        undo = bpy.context.mode == "OBJECT"
        try:
            bpy.ops.syncsde.add_image(
                "EXEC_DEFAULT",
                undo,
                filepath=str(filepath),
                name=self.name,
                editor=f"{self.editor:x}",
            )
        except RuntimeError as error:
            return sentence(error)
        return ""


def shorten(text: str) -> str:
    """Cut a name to what fits everywhere."""
    return text.encode()[:NAME_LENGTH].decode(errors="ignore").strip()


def sentence(error: Exception) -> str:
    """What an operator reported, without what Blender puts before it."""
    return str(error).removeprefix("Error: ").strip()
