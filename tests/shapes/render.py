"""Procedural pictures of eight coloured shapes on cluttered backgrounds.

Everything is drawn from signed distance functions in a unit square (x to the right, y down), so
one scene can be rendered at any size: 96 pixels for training, more for looking at. All randomness
comes from the numpy Generator that is passed in; the same seed gives the same picture.
"""

import colorsys
from dataclasses import dataclass, field

import numpy as np

CLASSES = ["circle", "square", "triangle", "star", "heart", "crescent", "ring", "cross"]


# ---- Signed distances: negative inside, positive outside, in units of the shape's radius ----


def box(x, y, half_width, half_height):
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def circle(x, y, _):
    return np.hypot(x, y) - 0.9


def square(x, y, _):
    return box(x, y, 0.77, 0.77)


def triangle(x, y, _):
    sides = [np.sin(a) * x + np.cos(a) * y for a in np.radians([0, 120, 240])]
    return np.maximum.reduce(sides) - 0.52


def star(x, y, form):
    """Five tips at radius 1; the notches lie at a radius that `form` moves by a tenth."""
    notch = 0.43 + 0.1 * form
    step = np.pi / 5
    # Fold the plane into one half-tip: the angle runs from 0 at the tip to `step` at the notch.
    angle = np.mod(np.arctan2(x, -y), 2 * step)
    angle = np.minimum(angle, 2 * step - angle)
    radius = np.hypot(x, y)
    along, across = radius * np.cos(angle) - 1, radius * np.sin(angle)
    edge_along, edge_across = notch * np.cos(step) - 1, notch * np.sin(step)
    length = edge_along**2 + edge_across**2
    foot = np.clip((along * edge_along + across * edge_across) / length, 0, 1)
    outside = np.sign(along * edge_across - across * edge_along)
    return outside * np.hypot(along - foot * edge_along, across - foot * edge_across)


def heart(x, y, _):
    """A square standing on its corner and a half disc on each of its two upper sides."""
    half = 0.5
    diagonal = half / np.sqrt(2)
    y = y + 0.12
    body = box((x + y) / np.sqrt(2), (x - y) / np.sqrt(2), half, half)
    lobes = [np.hypot(x - s * diagonal, y + diagonal) - half for s in (-1, 1)]
    return np.minimum.reduce([body] + lobes)


def crescent(x, y, form):
    """A disc without a second, shifted one."""
    x = x - 0.15
    bite = np.hypot(x - 0.42 - 0.08 * form, y) - 0.76
    return np.maximum(np.hypot(x, y) - 0.95, -bite)


def ring(x, y, form):
    width = 0.2 + 0.06 * form
    return np.abs(np.hypot(x, y) - 0.92 + width) - width


def cross(x, y, form):
    width = 0.3 + 0.06 * form
    return np.minimum(box(x, y, 0.92, width), box(x, y, width, 0.92))


SHAPES = dict(zip(CLASSES, [circle, square, triangle, star, heart, crescent, ring, cross]))


# ---- A scene: what is drawn, before it is known how large ----


@dataclass
class Thing:
    """One object of a class. Lengths are fractions of the picture's side, angles are radians."""

    shape: str
    x: float
    y: float
    radius: float
    angle: float = 0.0
    form: float = 0.0  # shape parameter in [-1, 1]
    stretch: float = 1.0
    colour: tuple = (1.0, 1.0, 1.0)
    second: tuple = (1.0, 1.0, 1.0)  # other end of the gradient, or the pattern's colour
    texture: str = "gradient"
    shine: float = 0.3


@dataclass
class Scene:
    """A background gradient, wavy sheets on it, distractors, and the objects on top."""

    background: tuple  # two colours
    direction: float = 0.8
    sheets: list = field(default_factory=list)  # colours of the wavy sheets, back to front
    accents: list = field(default_factory=list)  # colours of blobs, strokes and confetti
    blobs: int = 2
    strokes: int = 3
    confetti: int = 12
    seed: int = 0  # places the clutter
    things: list = field(default_factory=list)


class Canvas:
    def __init__(self, size):
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.size = size
        self.x, self.y = axis[None, :], axis[:, None]
        self.rgb = np.zeros((size, size, 3), np.float32)

    def blend(self, colour, alpha):
        self.rgb += alpha[..., None] * (np.asarray(colour, np.float32) - self.rgb)

    def cover(self, distance, soft=0.0):
        """Coverage in [0, 1] of a region; the edge is one pixel wide, or `soft` if that is more."""
        return np.clip(0.5 - distance / max(soft, 1.0 / self.size), 0, 1)

    def sheet(self, distance, colour, alpha=1.0, shadow=0.25):
        """A sheet of paper with a soft shadow around its edge."""
        if shadow:
            self.rgb *= (1 - shadow * np.clip(1 - distance / 0.045, 0, 1) ** 2)[..., None]
        self.blend(colour, alpha * self.cover(distance))


def draw_clutter(canvas, scene):
    rng = np.random.default_rng(scene.seed)
    x, y = canvas.x, canvas.y
    for i, colour in enumerate(scene.sheets):
        tilt = rng.uniform(-0.35, 0.35)
        level = 0.45 + (i + rng.uniform(0, 0.6)) * 0.5 / len(scene.sheets)
        wave = rng.uniform(0.02, 0.06) * np.sin(rng.uniform(6, 14) * x + rng.uniform(0, 6.3))
        canvas.sheet(level + wave + tilt * (x - 0.5) - y, colour)
    for _ in range(scene.blobs):
        dx, dy = x - rng.uniform(0, 1), y - rng.uniform(0, 1)
        theta = np.arctan2(dy, dx)
        radius = 1.0
        for lobes in (3, 4, 5):
            radius = radius + rng.uniform(0.1, 0.2) * np.sin(lobes * theta + rng.uniform(0, 6.3))
        distance = np.hypot(dx, dy) - rng.uniform(0.05, 0.16) * radius
        colour = scene.accents[rng.integers(len(scene.accents))]
        soft = rng.uniform(0.0, 0.06)
        canvas.blend(colour, rng.uniform(0.35, 0.9) * canvas.cover(distance, soft))
    for _ in range(scene.strokes):
        angle, bend = rng.uniform(0, np.pi), rng.uniform(0, 0.06)
        u = np.cos(angle) * (x - rng.uniform(0, 1)) + np.sin(angle) * (y - rng.uniform(0, 1))
        v = -np.sin(angle) * (x - rng.uniform(0, 1)) + np.cos(angle) * (y - rng.uniform(0, 1))
        path = np.abs(v + bend * np.sin(rng.uniform(6, 20) * u))
        distance = np.maximum(path - rng.uniform(0.004, 0.014), np.abs(u) - rng.uniform(0.1, 0.7))
        colour = scene.accents[rng.integers(len(scene.accents))]
        canvas.blend(colour, rng.uniform(0.4, 0.9) * canvas.cover(distance))
    for _ in range(scene.confetti):
        angle = rng.uniform(0, np.pi)
        dx, dy = x - rng.uniform(0, 1), y - rng.uniform(0, 1)
        u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        distance = box(u, v, rng.uniform(0.005, 0.03), rng.uniform(0.003, 0.007)) - 0.004
        colour = scene.accents[rng.integers(len(scene.accents))]
        canvas.blend(colour, rng.uniform(0.5, 1.0) * canvas.cover(distance))


def draw_thing(canvas, thing):
    def local(shift):
        dx, dy = canvas.x - thing.x - shift, canvas.y - thing.y - shift
        c, s = np.cos(thing.angle), np.sin(thing.angle)
        scale = thing.radius * np.array([thing.stretch, 1 / thing.stretch])
        return (c * dx + s * dy) / scale[0], (c * dy - s * dx) / scale[1]

    outline = SHAPES[thing.shape]
    u, v = local(0.0)
    distance = outline(u, v, thing.form) * thing.radius
    shadow = outline(*local(0.02), thing.form) * thing.radius
    canvas.rgb *= (1 - 0.35 * canvas.cover(shadow, 0.06))[..., None]

    first, second = (np.asarray(c, np.float32) for c in (thing.colour, thing.second))
    if thing.texture == "gradient":
        mix = np.clip(0.5 + 0.5 * v, 0, 1)
    elif thing.texture == "stripes":
        mix = np.clip(0.5 + 4 * np.sin(9 * (u + v)), 0, 1)
    elif thing.texture == "dots":
        mix = np.clip(0.5 - 12 * (np.hypot(np.mod(3 * u, 1) - 0.5, np.mod(3 * v, 1) - 0.5) - 0.24),
                      0, 1)
    elif thing.texture == "checks":
        mix = np.clip(0.5 + 6 * np.sin(8 * u) * np.sin(8 * v), 0, 1)
    else:
        raise ValueError(f"texture {thing.texture!r} is unknown")
    paint = first + mix[..., None] * (second - first)
    # A light rim towards the upper left and a dark one opposite make the object look embossed.
    rim = np.clip(1 + distance / (0.22 * thing.radius), 0, 1) ** 2
    slope = np.clip((thing.x - canvas.x + thing.y - canvas.y) / thing.radius, -1, 1)
    paint = np.clip(paint + (thing.shine * rim * slope)[..., None], 0, 1)
    alpha = canvas.cover(distance)[..., None]
    canvas.rgb += alpha * (paint - canvas.rgb)


def draw(scene, size):
    """Returns the scene as a uint8 array [size, size, 3]."""
    canvas = Canvas(size)
    first, second = (np.asarray(c, np.float32) for c in scene.background)
    c, s = np.cos(scene.direction), np.sin(scene.direction)
    ramp = np.clip(0.5 + (canvas.x - 0.5) * c + (canvas.y - 0.5) * s, 0, 1)
    canvas.rgb[:] = first + ramp[..., None] * (second - first)
    draw_clutter(canvas, scene)
    for thing in scene.things:
        draw_thing(canvas, thing)
    return np.clip(np.rint(canvas.rgb * 255), 0, 255).astype(np.uint8)


# ---- Random scenes ----


def random_colour(rng, saturation=(0.25, 0.95), value=(0.25, 1.0)):
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))


def random_thing(rng, shape, avoid, radius):
    """An object whose two colours both differ clearly from every colour in `avoid`."""

    def clear(colour):
        return min(np.linalg.norm(np.subtract(colour, other)) for other in avoid) > 0.3

    colours = []
    while len(colours) < 2:
        colour = random_colour(rng)
        if clear(colour):
            colours.append(colour)
    if rng.uniform() < 0.5:  # a second tone of the same hue
        shade = rng.uniform(0.75, 1.0)
        colours[1] = tuple(shade * c for c in colours[0])
    return Thing(
        shape=shape,
        x=rng.uniform(radius, 1 - radius),
        y=rng.uniform(radius, 1 - radius),
        radius=radius,
        angle=rng.uniform(-np.pi, np.pi),
        form=rng.uniform(-1, 1),
        stretch=rng.uniform(0.92, 1.09),
        colour=colours[0],
        second=colours[1],
        texture=str(rng.choice(["gradient", "gradient", "stripes", "dots", "checks"])),
        shine=rng.uniform(0, 0.4),
    )


def random_scene(rng, shapes, radii):
    """Clutter and one object of each named shape, apart from each other, radii in a range."""
    base = [random_colour(rng, (0.05, 0.8)) for _ in range(2)]
    sheets = [random_colour(rng, (0.05, 0.8)) for _ in range(rng.integers(0, 3))]
    scene = Scene(
        background=tuple(base),
        direction=rng.uniform(-np.pi, np.pi),
        sheets=sheets,
        accents=[random_colour(rng) for _ in range(4)],
        blobs=int(rng.integers(0, 4)),
        strokes=int(rng.integers(0, 5)),
        confetti=int(rng.integers(0, 14)),
        seed=int(rng.integers(2**31)),
    )
    for shape in shapes:
        while True:
            thing = random_thing(rng, shape, base + sheets, rng.uniform(*radii))
            if all(np.hypot(thing.x - other.x, thing.y - other.y) > thing.radius + other.radius
                   for other in scene.things):
                break
        scene.things.append(thing)
    return scene


def singles(count, seed, size=96, radii=(0.15, 0.32)):
    """Pictures of one object each: uint8 [count, size, size, 3] and class indices [count]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    pictures = [draw(random_scene(rng, [CLASSES[i]], radii), size) for i in labels]
    return np.stack(pictures), labels.astype(np.int64)


def pairs(count, seed, size=96, radii=(0.15, 0.23)):
    """Pictures of two objects of different classes, and class indices [count, 2]."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.permutation(len(CLASSES))[:2] for _ in range(count)])
    pictures = [draw(random_scene(rng, [CLASSES[i] for i in two], radii), size) for two in labels]
    return np.stack(pictures), labels
