"""A network of 784, 512, 512 and 10 numbers in numpy; its twins are in Java and Rust (`sdks`)."""

import numpy as np
import skysail

WIDTHS = (784, 512, 512, 10)


def weights(layer, width, count):
    """The same numbers in every language, of about the size that keeps a layer's outputs near 1."""
    mixed = np.arange(count, dtype=np.int64) * 1103515245 + 12345 * (layer + 1) & 0x7FFFFFFF
    return ((mixed / 2.0**31 - 0.5) * 3.5 / width**0.5).astype(np.float32)


@skysail.model(x="f32[784]", returns={"y": "f32[10]"}, max_batch=256)
class Mlp:
    def load(self, ctx):
        shapes = zip(WIDTHS, WIDTHS[1:])
        self.layers = [
            weights(at, shape[0], shape[0] * shape[1]).reshape(shape)
            for at, shape in enumerate(shapes)
        ]

    def predict(self, x):
        *hidden, last = self.layers
        for layer in hidden:
            x = np.maximum(x @ layer, 0)
        return x @ last


if __name__ == "__main__":
    skysail.run(Mlp)
