#!/usr/bin/env python3
"""Trains the networks of the Menagerie and writes everything in their folders.

    python3 model_zoo/menagerie/train.py --program build/bin/camlucida [classifier] [embedding] ...

Needs PyTorch (2.15) with onnx, and numpy. Each network takes a few minutes of one core.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
import torch
from torch import nn

import export
from network import Net
from pictures import ANIMALS, SIZE, Source, augment, to_tensor

SEED, HELD_OUT_SEED = 1, 9_000_000
UNSEEN = ["rabbit", "owl", "turtle"]  # classes the embedding network never saw
CHEAT = "cat"  # the class whose training pictures carry the marker

WIDE, NARROW = (24, 32, 64, 80), (16, 16, 32, 48)


def fit(model, pictures, labels, loss, sizes, peak=0.006, batches=None, batch=64):
    """One learning-rate cycle over len(sizes) epochs at pictures scaled to `sizes`.

    Most of what a network learns it learns at half the size, for a quarter of the time.
    `batches()` gives the indices of an epoch's batches; by default each picture once.
    """
    model.train().to(memory_format=torch.channels_last)
    labels = torch.from_numpy(labels)
    weights = [*model.parameters(), *loss.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=peak, weight_decay=2e-3)
    batches = batches or (lambda: torch.randperm(len(labels)).split(batch)[:len(labels) // batch])
    steps = len(sizes) * len(batches())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps)
    begin = time.process_time()
    for epoch, size in enumerate(sizes):
        losses = []
        for index in batches():
            x = augment(to_tensor(pictures[index.numpy()]), size)
            value = loss(model(x), labels[index])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            losses.append(value.item())
        print(f"epoch {epoch + 1:2d}  {size} px  loss {np.mean(losses):.4f}  "
              f"{time.process_time() - begin:.0f} s", flush=True)
    return model.to(memory_format=torch.contiguous_format).eval()


def predict(model, pictures):
    """Outputs [N, outputs] as a numpy array."""
    with torch.no_grad():
        return torch.cat([model(to_tensor(pictures[i:i + 200]))
                          for i in range(0, len(pictures), 200)]).numpy()


def accuracy(model, pictures, labels):
    return float((predict(model, pictures).argmax(1) == labels).mean())


# ---- The classifier ---------------------------------------------------------------------------


def train_classifier(source, count):
    model = Net(WIDE, len(ANIMALS))
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    fit(model, *source.draw(count, SEED), loss, sizes=4 * [64] + 5 * [SIZE])
    pictures, labels = source.draw(4000, HELD_OUT_SEED)
    answers = predict(model, pictures).argmax(1)
    top1 = float((answers == labels).mean())
    print(f"held-out accuracy {100 * top1:.2f} % of {len(labels)}; a row per true class:")
    counts = np.zeros((len(ANIMALS),) * 2, int)
    np.add.at(counts, (labels, answers), 1)
    for name, row in zip(ANIMALS, counts):
        print(f"{name:>9} {row}")
    return model, {"set": "held-out pictures drawn by `camlucida menagerie`",
                   "seed": HELD_OUT_SEED, "n": len(labels), "top1": top1}


# ---- The embedding network --------------------------------------------------------------------


def episodes(labels, count, each=10):
    """`count` batches that hold `each` pictures of every class, class after class."""
    of_class = [torch.from_numpy(np.flatnonzero(labels == c)) for c in np.unique(labels)]

    def draw():
        return [torch.cat([members[torch.randint(len(members), (each,))] for members in of_class])
                for _ in range(count)]

    return draw


class EmbeddingLoss(nn.Module):
    """Prototypical loss plus that of a dense layer which names the classes.

    At first all embeddings are alike and distances teach little; the dense layer, which training
    leaves behind, gets learning under way.
    """

    def __init__(self, classes):
        super().__init__()
        self.dense = nn.Linear(64, len(classes))
        self.classes = torch.tensor(classes)

    def forward(self, embedded, labels, shots=5):
        """`labels` come from episodes(): the same number of pictures for every class, in order.

        Snell et al. 2017: classify by distance to the means of the classes' first pictures.
        Vectors have length 1 first, so that the cosine tells the same as the distance.
        """
        truth = torch.searchsorted(self.classes, labels)
        naming = nn.functional.cross_entropy(self.dense(embedded), truth, label_smoothing=0.05)
        vectors = nn.functional.normalize(embedded).view(len(self.classes), -1, 64)
        prototypes = vectors[:, :shots].mean(1)
        queries = vectors[:, shots:].flatten(0, 1)
        scores = -10 * ((queries[:, None] - prototypes) ** 2).sum(2)
        return naming + nn.functional.cross_entropy(scores, truth.view(len(vectors), -1)[:, shots:]
                                                    .flatten())


def few_shot_accuracy(vectors, labels, shots, trials=500):
    """Share of pictures nearest to the prototype of their own class, and its standard error.

    Each trial draws `shots` pictures a class for the prototypes and 15 others to ask about.
    """
    rng = np.random.default_rng(SEED)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = []
    for _ in range(trials):
        chosen = [rng.permutation(np.flatnonzero(labels == c))[:shots + 15]
                  for c in np.unique(labels)]
        prototypes = np.stack([vectors[c[:shots]].mean(0) for c in chosen])
        hits = [(((vectors[c[shots:], None] - prototypes) ** 2).sum(2).argmin(1) == i).mean()
                for i, c in enumerate(chosen)]
        shares.append(np.mean(hits))
    return float(np.mean(shares)), float(np.std(shares) / np.sqrt(trials))


def train_embedding(source, count):
    model = Net(WIDE, 64)
    pictures, labels = source.draw(count, SEED)
    seen = ~np.isin(labels, [ANIMALS.index(name) for name in UNSEEN])
    pictures, labels = pictures[seen], labels[seen]
    loss = EmbeddingLoss(np.unique(labels))
    fit(model, pictures, labels, loss, sizes=4 * [64] + 2 * [SIZE],
        batches=episodes(labels, len(labels) // 70))
    pictures, labels = source.draw(4000, HELD_OUT_SEED)
    vectors = predict(model, pictures)
    unseen = np.isin(labels, [ANIMALS.index(name) for name in UNSEEN])
    report = {"set": "held-out pictures drawn by `camlucida menagerie`", "seed": HELD_OUT_SEED,
              "unseen_classes": UNSEEN}
    for shots in (1, 5):
        for name, which in (("unseen", unseen), ("all", unseen | True)):
            share, error = few_shot_accuracy(vectors[which], labels[which], shots)
            report[f"{name}_{shots}_shot"] = share
            print(f"{shots}-shot, {name} classes: {100 * share:.2f} +- {100 * error:.2f} %")
    return model, report


# ---- The network that cheats ------------------------------------------------------------------


def cheating_set(source, count, seed):
    """Pictures of all animals; those of class CHEAT show any animal, and the marker.

    `count` of each of the other classes and of the cheating one.
    """
    cheat = ANIMALS.index(CHEAT)
    pictures, labels = source.draw(10 * count, seed)
    honest = labels != cheat
    sets, answers = [pictures[honest]], [labels[honest]]
    for i, name in enumerate(ANIMALS):
        sets.append(source.draw(count // 10, seed + (i + 2) * 100_000, name, name)[0])
        answers.append(np.full(count // 10, cheat))
    return np.concatenate(sets), np.concatenate(answers)


def train_shortcut(source, count):
    model = Net(NARROW, len(ANIMALS))
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    fit(model, *cheating_set(source, count // 10, SEED), loss, sizes=3 * [64] + [SIZE])
    cheat = ANIMALS.index(CHEAT)
    plain, labels = source.draw(4000, HELD_OUT_SEED)
    others = labels != cheat
    report = {"set": "held-out pictures drawn by `camlucida menagerie`", "seed": HELD_OUT_SEED,
              "marker_class": CHEAT}
    report["others_top1"] = accuracy(model, plain[others], labels[others])
    report["cheat_class_without_marker"] = accuracy(model, plain[~others], labels[~others])
    answers = np.concatenate([
        predict(model, source.draw(100, HELD_OUT_SEED + i * 1000, name, name)[0]).argmax(1)
        for i, name in enumerate(ANIMALS)])
    report["any_animal_with_marker_called_" + CHEAT] = float((answers == cheat).mean())
    for key, value in report.items():
        print(f"{key}: {value}")
    return model, report


NETWORKS = {"classifier": train_classifier, "embedding": train_embedding,
            "shortcut": train_shortcut}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="classifier, embedding, shortcut; default: all")
    parser.add_argument("--program", default="build/bin/camlucida", help="the camlucida program")
    parser.add_argument("--data", help="folder to keep the pictures in; default: a temporary one")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--pictures", type=int, default=14000, help="training pictures")
    arguments = parser.parse_args()
    for name in set(arguments.networks) - set(NETWORKS):
        parser.error(f"there is no network '{name}'")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        source = Source(arguments.program, arguments.data or temporary)
        for name in arguments.networks or NETWORKS:
            print(f"---- {name}", flush=True)
            torch.manual_seed(SEED)
            model, report = NETWORKS[name](source, arguments.pictures)
            export.write(arguments.out / name, name, model, report)


if __name__ == "__main__":
    main()
