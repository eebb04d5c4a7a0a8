# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture as a diffusion model: the posterior mean over its patches under the present noise.

- `picture`: a picture at several scales, whitened, and what its patches look like.
- `maps`, `normals`: what it has beside its colors, such as roughness and normals.
- `borders`: photographs that do not tile, faded into themselves.
- `sites`: where patches are taken: fixed lists of neighbors, flat or on a surface.
- `lattice`: what repeats in rows and columns, and the places of its cells.
- `matching`: compiled search of the patches of the picture that explain a noisy one.
- `denoiser`: from a noisy state to the noise in it, scale by scale.
- `layout`: where each spot of a surface lies in the picture, and its colors at any resolution.

An empirical prior over patches is an exact denoiser; compare the local score of Kamb and Ganguli
(arXiv:2412.20292). Searching from coarse to fine is as in GPNN (arXiv:2103.15545).
"""
