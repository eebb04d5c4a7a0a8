# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains mini, the small text-to-image model with a depth ControlNet that ships in the engine.

Everything is made from nothing but this package: the pictures are procedural renders, the captions
are written from the same scene descriptions, and all networks start from random weights. README.md
in this folder has the commands.
"""
