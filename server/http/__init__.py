# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of the engine process and what guards them."""
