# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion of a human figure: joints, features, rotations, files. Numpy only, and no networks.

Space is right-handed with y up, in meters; a figure with yaw 0 faces +z and its left is +x. Motion
has 20 frames a second (section 3.3.6 of the paper, HumanML3D).
"""
