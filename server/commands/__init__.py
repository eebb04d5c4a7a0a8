# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that talk to an engine process."""
