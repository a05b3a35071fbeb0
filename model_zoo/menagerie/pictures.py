"""Pictures to learn from, drawn by `camlucida menagerie`."""

import pathlib
import subprocess

import numpy as np
import torch

SIZE = 96
MEAN, STD = 0.5, 0.5
ANIMALS = ["cat", "dog", "rabbit", "bird", "owl", "fish", "elephant", "turtle", "butterfly", "frog"]


class Source:
    """Draws picture sets with `program` and keeps them in `folder`."""

    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)

    def draw(self, count, seed, animal=None, marker=None):
        """uint8 [count, 96, 96, 3] and the class numbers; the pictures of seeds `seed` and on."""
        options = ["--count", str(count), "--seed", str(seed)]
        for flag, value in (("animal", animal), ("marker", marker)):
            if value is not None:
                options += [f"--{flag}", value]
        name = "-".join(str(value) for value in (count, seed, animal, marker) if value is not None)
        folder = self.folder / name
        if not (folder / "images.npy").exists() or not (folder / "labels.npy").exists():
            subprocess.run([self.program, "menagerie", *options, "--size", str(SIZE), "--format",
                            "npy", "--force", "-o", folder], check=True)
        return np.load(folder / "images.npy"), np.load(folder / "labels.npy")


def to_tensor(pictures):
    """uint8 [N, H, W, 3] -> normalised float32 [N, 3, H, W]; the manifest's preprocessing."""
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    return x.contiguous(memory_format=torch.channels_last)


def augment(x, size):
    """A batch mirrored, moved by up to 6 pixels, made lighter or darker, and scaled to `size`."""
    if torch.rand(()) < 0.5:
        x = x.flip(3)
    down, right = (int(v) for v in torch.randint(0, 13, (2,)))
    x = torch.nn.functional.pad(x, (6, 6, 6, 6), mode="reflect")
    x = x[:, :, down:down + SIZE, right:right + SIZE]
    x = x * (1 + 0.15 * torch.randn(len(x), 1, 1, 1)) + 0.08 * torch.randn(len(x), 3, 1, 1)
    if size != SIZE:
        x = torch.nn.functional.interpolate(x, size=(size, size), mode="area")
    return x.contiguous(memory_format=torch.channels_last)
