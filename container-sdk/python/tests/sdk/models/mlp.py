"""A perceptron of one hidden layer in numpy, its weights a file beside it."""

import numpy as np
import skysail


def forward(x, w):
    return np.maximum(x @ w["w1"] + w["b1"], 0) @ w["w2"] + w["b2"]


@skysail.model(x="f32[64]", returns={"y": "f32[10]"})
class Mlp:
    def load(self, ctx):
        self.w = np.load(ctx.path("mlp.npz"))

    def predict(self, x):
        return forward(x, self.w)


skysail.run(Mlp)
