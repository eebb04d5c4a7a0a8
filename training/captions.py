# SPDX-License-Identifier: GPL-3.0-or-later
"""Captions in the words people type and the engine appends, new each time a picture is used."""

from __future__ import annotations

from random import Random

from .materials import COLORABLE
from .scenes import Scene

NOUNS: dict[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball", "globe"),
    "cube": ("cube", "box", "block"),
    "cylinder": ("cylinder", "barrel", "can"),
    "cone": ("cone",),
    "torus": ("torus", "ring", "donut"),
    "capsule": ("capsule", "pill"),
    "vase": ("vase", "pot", "jar"),
    "pillar": ("pillar", "column"),
    "bowl": ("bowl", "dish"),
    "mug": ("mug", "cup"),
    "blob": ("blob", "rock", "boulder"),
    "compound": ("sculpture", "toy", "statue", "machine"),
    "head": ("head", "statue", "monkey", "mask", "monkey head", "creature"),
    "bust": ("bust", "statue", "sculpture", "head"),
    "creature": ("creature", "animal", "statue", "dog", "cat", "bear", "monster", "toy"),
    "figure": ("figure", "statue", "person", "robot", "doll", "sculpture"),
    "monkey": ("statue",),
    "bunny": ("bunny",),
    "chair": ("chair",),
}
GENERAL_NOUNS = ("object", "thing", "shape", "model", "statue")
# Other ways to say a material; a word listed twice is drawn twice as often.
WORDS: dict[str, tuple[str, ...]] = {
    "brick": ("brick", "brick", "bricks"),
    "stone brick": ("stone brick", "stone brick", "stone bricks", "stone block"),
    "cobblestone": ("cobblestone", "cobblestone", "cobbled", "fieldstone"),
    "planks": ("wooden", "wood", "wooden planks", "planks"),
    "scaly": ("scaly", "scaly", "dragon scale"),
    "tiles": ("tiled", "tiles", "ceramic tile"),
    "ornament": ("ornament", "ornamental", "carpet", "printed cloth"),
    "rusty metal": ("rusty metal", "rusty", "rusted metal", "rusty iron"),
    "mossy stone": ("mossy stone", "mossy", "moss covered stone"),
    "rock": ("stone", "stone", "rock", "rocky"),
    "grass": ("grass", "grass", "grassy"),
    "ice": ("ice", "icy", "frozen ice"),
    "striped": ("striped",),
    "camouflage": ("camouflage", "camo"),
    "gold": ("golden", "gold"),
    "lava": ("lava", "molten lava"),
}
_SUBSTANCES = {"striped", "scaly", "plain"}  # nothing is "made of striped"
_SHADES = {"gray": ("gray", "grey"), "red": ("red", "red", "crimson")}
UNCONDITIONAL = 0.12


def write_caption(scene: Scene, rng: Random) -> str:
    """Describe a scene. Never empty; leave captions out where guidance is trained."""
    if scene.kind == "wall":
        assert scene.wall
        return _with_article(
            f"{_material(*scene.wall, rng)} {rng.choice(('wall', 'texture', 'surface'))}"
        )
    if scene.kind == "landscape":
        return _landscape(scene, rng)
    words = _thing(scene, rng)
    if scene.kind == "front":
        if scene.wall:
            return f"{words} in front of {_with_article(_material(*scene.wall, rng) + ' wall')}"
        return f"{words} in front of {_landscape(scene, rng)}"
    if scene.background:
        shade = _shade(scene.background, rng)
        form = rng.choice((" on a {} background", " on a {} background", ", {} background"))
        words += form.format(shade)
    elif rng.random() < 0.1:
        words += ", plain background"
    if rng.random() < 0.4:
        words += f", {view_word(scene.azimuth, scene.elevation)} view"
    return words


def view_word(azimuth: float, elevation: float) -> str:
    """The direction word the engine appends for a camera, both angles in degrees."""
    if abs(elevation) > 60:
        return "top" if elevation > 0 else "bottom"
    turned = abs((azimuth + 180) % 360 - 180)
    return "front" if turned < 45 else "back" if turned > 135 else "side"


def _shade(color: str, rng: Random) -> str:
    return rng.choice(_SHADES.get(color, (color,)))


def _material(material: str, color: str, rng: Random) -> str:
    if material == "plain":
        return _shade(color, rng)
    word = rng.choice(WORDS.get(material, (material,)))
    if material not in COLORABLE:
        return word
    if material == "striped" and color != "white" and rng.random() < 0.3:
        pair = (_shade(color, rng), "white")
        return f"{' and '.join(pair if rng.random() < 0.5 else pair[::-1])} {word}"
    return f"{_shade(color, rng)} {word}"


def _thing(scene: Scene, rng: Random) -> str:
    assert scene.shape
    assert scene.material
    assert scene.color
    noun = rng.choice(GENERAL_NOUNS if rng.random() < 0.2 else NOUNS[scene.shape])
    material = _material(scene.material, scene.color, rng)
    style = rng.random()
    if style < 0.15:
        return f"{material} {noun}"
    if style < 0.85 or scene.material in _SUBSTANCES:
        return _with_article(f"{material} {noun}")
    stuff = f"{scene.color} {scene.material}" if scene.material in COLORABLE else scene.material
    return f"{_with_article(noun)} made of {stuff}"


def _landscape(scene: Scene, rng: Random) -> str:
    assert scene.landscape
    place, time = scene.landscape
    named = {"sea": "the sea", "desert": "a desert", "forest": "a forest"}.get(place, place)
    if place == "hills" and rng.random() < 0.5:
        named = "green hills"
    when = "on a sunny day" if time == "under a blue sky" and rng.random() < 0.3 else time
    start = "a landscape with " if scene.kind == "landscape" and rng.random() < 0.2 else ""
    return f"{start}{named} {when}"


def _with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words
