# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a job's result goes: onto objects, or into a new image.

Neither keeps a datablock, because undo and file load replace those while the engine works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import bpy

from ..scene import textures
from ..scene.textures import Target


class Result(Protocol):
    """What becomes of the file that a job was done for."""

    def waiting(self) -> str:
        """Say what the artist must do first, or nothing; never asked in background."""
        ...

    def apply(self, filepath: Path) -> str:
        """Use the file; return what went wrong in one sentence, or nothing."""
        ...


@dataclass(frozen=True)
class OntoObjects:
    """The textures of mesh objects, told in a run's report."""

    targets: Sequence[Target]
    name: str

    def waiting(self) -> str:
        """Applying would throw the artist out of a mode, whose undo history is its own."""
        found = [obj for target in self.targets if (obj := target.find()) is not None]
        busy = any(bpy.context.mode != "OBJECT" or obj.mode != "OBJECT" for obj in found)
        return "Waiting for Object Mode" if busy else ""

    def apply(self, filepath: Path) -> str:
        try:
            # True: an operator called from a timer pushes its undo step only when told to.
            bpy.ops.syncsde.apply_run(
                "EXEC_DEFAULT",
                True,
                directory=str(filepath.parent),
                targets=textures.to_json(self.targets),
                name=self.name,
            )
        except RuntimeError as error:
            return sentence(error)
        return ""


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


def sentence(error: Exception) -> str:
    """What an operator reported, without what Blender puts before it."""
    return str(error).removeprefix("Error: ").strip()
