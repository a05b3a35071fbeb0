"""The example pictures: three composed scenes in the style of the training pictures."""

from render import Scene, Thing

SIZE = 384


def rgb(text):
    return tuple(int(text[i : i + 2], 16) / 255 for i in (0, 2, 4))


def star():
    return Scene(
        background=(rgb("1d2b64"), rgb("7b4b94")),
        direction=1.2,
        sheets=[rgb("33407d"), rgb("232d5c")],
        accents=[rgb("5a6fc0"), rgb("c774b2"), rgb("3f8f9e"), rgb("e0a8c8")],
        blobs=3, strokes=2, confetti=16, seed=109,
        things=[Thing("star", 0.54, 0.45, 0.27, angle=-0.2, colour=rgb("ffd75e"),
                      second=rgb("f08a24"), shine=0.25)],
    )


def heart():
    return Scene(
        background=(rgb("fdf3dc"), rgb("f6cfa8")),
        direction=1.0,
        sheets=[rgb("a8d5ba"), rgb("6fb3a0")],
        accents=[rgb("f2a65a"), rgb("7fb7be"), rgb("d3b1e0"), rgb("8fc1a9")],
        blobs=3, strokes=3, confetti=16, seed=104,
        things=[Thing("heart", 0.47, 0.46, 0.26, angle=0.18, colour=rgb("f0566b"),
                      second=rgb("b3123f"), shine=0.3)],
    )


def two_objects():
    return Scene(
        background=(rgb("cfe8f3"), rgb("8fb8de")),
        direction=1.3,
        sheets=[rgb("7fa5c9"), rgb("4f7cac")],
        accents=[rgb("f4d06f"), rgb("9dd9d2"), rgb("fff8f0"), rgb("b8a1d9")],
        blobs=3, strokes=3, confetti=16, seed=102,
        things=[Thing("star", 0.26, 0.42, 0.22, angle=0.25, colour=rgb("ffcf48"),
                      second=rgb("f2811d"), shine=0.25),
                Thing("heart", 0.73, 0.57, 0.2, angle=-0.15, colour=rgb("ef4f6b"),
                      second=rgb("b00f45"), texture="stripes", shine=0.3)],
    )


SCENES = {"star.png": star, "heart.png": heart, "two_objects.png": two_objects}
