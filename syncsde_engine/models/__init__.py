# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks: loading them from diffusers folders and calling them as the sampler wants."""
