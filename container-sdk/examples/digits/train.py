#!/usr/bin/env python3
"""Trains the two models of `skysail demo` and measures them on the test split.

`digits-linear` is softmax regression, `digits-mlp` has one hidden layer of 32 ReLU units; both
read the 64 raw pixels (0 to 16) of an 8x8 image of the UCI optical digits set. README.md describes
the files this writes.

What the demo compares with is measured on the files as they were written, not on the arrays in
memory. The test split has no near-ties, so every correct implementation, in whatever order it
sums, gives the same answers; `--check` verifies that again with the standard library alone.
"""

import argparse
import csv
import json
import operator
import struct
import sys
from pathlib import Path

MODELS = ("digits-linear", "digits-mlp")
PIXELS = 64
CLASSES = 10
HIDDEN = 32
INPUT_SCALE = 1 / 16
SEED = 0
EPOCHS = 100
BATCH = 32
# Smallest difference allowed between the best and the second-best logit of a test image. The
# rounding of float32 arithmetic stays below half of it, which training asserts.
GAP_MIN = 1e-4


# ---- Measuring: standard library only ----


def to_float32(text):
    """The double that holds exactly the float32 nearest to `text`."""
    return struct.unpack("<f", struct.pack("<f", float(text)))[0]


def load_model(folder, name):
    """A model as its file has it, its numbers rounded to float32."""
    return json.loads((folder / f"{name}.json").read_text(), parse_float=to_float32)


def load_test_split(path):
    """The labels and the images (64 integers each) of the test split."""
    with path.open(newline="") as file:
        rows = [[int(field) for field in row] for row in list(csv.reader(file))[1:]]
    return [row[0] for row in rows], [row[1:] for row in rows]


def logits(model, images):
    """Ten logits for each image, summed in double precision."""
    layers = [(list(zip(*layer["weights"])), layer["bias"]) for layer in model["layers"]]
    found = []
    for image in images:
        values = [model["input_scale"] * pixel for pixel in image]
        for index, (columns, bias) in enumerate(layers):
            if index > 0:
                values = [max(value, 0.0) for value in values]
            values = [b + sum(map(operator.mul, values, c)) for c, b in zip(columns, bias)]
        found.append(values)
    return found


def measure(folder):
    """What `report.json` should say about the files in `folder`."""
    labels, images = load_test_split(folder / "digits-test.csv")
    report = {"test_images": len(images), "models": {}}
    for name in MODELS:
        correct = 0
        found = logits(load_model(folder, name), images)
        for row, (values, label) in enumerate(zip(found, labels)):
            second, best = sorted(values)[-2:]
            if best - second <= GAP_MIN:
                sys.exit(f"{name}: test image {row} is a near-tie, gap {best - second:.1e}")
            correct += values.index(best) == label
        accuracy = round(correct / len(images), 6)
        report["models"][name] = {"correct": correct, "accuracy": accuracy}
    return report


def check(folder):
    """Exits 1 unless `report.json` says what is measured now."""
    measured, written = measure(folder), json.loads((folder / "report.json").read_text())
    if measured != written:
        sys.exit(f"{folder / 'report.json'} says {written}, measured {measured}")
    print_report(measured)


def print_report(report):
    for name, result in report["models"].items():
        print(f"{name}: {result['correct']} of {report['test_images']}, {result['accuracy']:.2%}")


# ---- Training: numpy, and scikit-learn for the images ----


def split(labels, rng):
    """Indices of the training and the test half; each class is halved (to within one)."""
    import numpy as np

    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_class[1::2]), np.sort(by_class[0::2])


def train(inputs, labels, sizes, rng):
    """Minimises cross-entropy by Adam (Kingma and Ba, 2015); [(weights, bias)] as float32."""
    import numpy as np

    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        weights = rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))
        layers += [weights, np.zeros(fan_out)]
    first, second = [np.zeros_like(p) for p in layers], [np.zeros_like(p) for p in layers]
    targets = np.eye(CLASSES)[labels]
    step = 0
    for epoch in range(EPOCHS):
        rate = 0.0025 * (1 + np.cos(np.pi * epoch / EPOCHS))
        order = rng.permutation(len(inputs))
        for start in range(0, len(inputs), BATCH):
            rows = order[start : start + BATCH]
            step += 1
            for i, gradient in enumerate(gradients(layers, inputs[rows], targets[rows])):
                first[i] += 0.1 * (gradient - first[i])
                second[i] += 0.001 * (gradient**2 - second[i])
                mean = first[i] / (1 - 0.9**step)
                deviation = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
                layers[i] -= rate * mean / deviation
    layers = [p.astype(np.float32) for p in layers]
    return list(zip(layers[0::2], layers[1::2]))


def gradients(layers, inputs, targets):
    """Gradients of the mean cross-entropy, in the order of `layers` (weights, bias, ...)."""
    import numpy as np

    activations = [inputs]
    for i in range(0, len(layers), 2):
        values = activations[-1] @ layers[i] + layers[i + 1]
        activations.append(np.maximum(values, 0) if i + 2 < len(layers) else values)
    exp = np.exp(values - values.max(axis=1, keepdims=True))
    delta = (exp / exp.sum(axis=1, keepdims=True) - targets) / len(inputs)
    found = []
    for i in range(len(layers) - 2, -1, -2):
        below = activations[i // 2]
        found = [below.T @ delta, delta.sum(axis=0)] + found
        delta = (delta @ layers[i].T) * (below > 0)
    return found


def write_model(path, layers):
    """Writes one line per row of weights; each number is the shortest that reads back the same."""

    def row(values):
        # float32's own repr is shortest for float32; a Python float's would print 17 digits.
        return "[" + ",".join(str(value) for value in values) + "]"

    blocks = []
    for weights, bias in layers:
        rows = ",\n".join(row(r) for r in weights)
        blocks.append(f'{{"weights":[\n{rows}\n],\n"bias":{row(bias)}}}')
    body = ",\n".join(blocks)
    path.write_text(f'{{"input_scale":{INPUT_SCALE},"layers":[\n{body}\n]}}\n')


def assert_float32_agrees(folder, name, layers, images):
    """The file holds exactly `layers`, and float32 arithmetic stays well inside GAP_MIN."""
    import numpy as np

    model = load_model(folder, name)
    values = np.asarray(images, np.float32) * np.float32(INPUT_SCALE)
    for index, ((weights, bias), read) in enumerate(zip(layers, model["layers"])):
        assert np.array_equal(np.float32(read["weights"]), weights), f"{name}: weights changed"
        assert np.array_equal(np.float32(read["bias"]), bias), f"{name}: bias changed"
        values = (np.maximum(values, 0) if index > 0 else values) @ weights + bias
    assert values.dtype == np.float32
    error_max = np.abs(values - np.array(logits(model, images))).max()
    assert error_max < GAP_MIN / 2, f"{name}: float32 is off by {error_max:.1e}"


def train_all(folder):
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(SEED)
    train_rows, test_rows = split(digits.target, rng)
    with (folder / "digits-test.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label"] + [f"p{i}" for i in range(PIXELS)])
        for r in test_rows:
            writer.writerow([digits.target[r]] + digits.data[r].astype(int).tolist())

    inputs, labels = digits.data[train_rows] * INPUT_SCALE, digits.target[train_rows]
    _, images = load_test_split(folder / "digits-test.csv")
    for name, sizes in zip(MODELS, ([PIXELS, CLASSES], [PIXELS, HIDDEN, CLASSES])):
        layers = train(inputs, labels, sizes, rng)
        write_model(folder / f"{name}.json", layers)
        assert_float32_agrees(folder, name, layers, images)

    report = measure(folder)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)


def main():
    parser = argparse.ArgumentParser(
        description="Train the digits models of `skysail demo` and write them, the test split and "
        "the accuracies measured on it.",
        epilog="Training needs the packages of requirements.txt; --check needs none.",
    )
    here = Path(__file__).resolve().parent
    parser.add_argument(
        "--out",
        type=Path,
        default=here,
        metavar="FOLDER",
        help="where the files are (default: beside this script)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="train nothing: measure the files again, exit 1 if report.json differs",
    )
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.out)
    else:
        arguments.out.mkdir(parents=True, exist_ok=True)
        train_all(arguments.out)


if __name__ == "__main__":
    main()
