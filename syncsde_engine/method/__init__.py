# SPDX-License-Identifier: GPL-3.0-or-later
"""The method of the paper: trajectories that are synchronized while they are sampled."""
