# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains mime, the small text-to-motion model that ships in the engine.

All of its motion is procedural: paths, steps and poses from a few hundred lines, with captions
written from the same plans. No recorded motion of anybody is in it.
"""
