"""scikit-learn on diabetes: a regression, written in place."""

import numpy as np
import skysail
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge


def train():
    return Ridge().fit(*load_diabetes(return_X_y=True))


@skysail.model(x="f64[10]", returns={"y": "f64"}, max_batch=256)
class Diabetes:
    def load(self, ctx):
        self.model = train()

    def predict(self, x, out):
        np.copyto(out, self.model.predict(x))


skysail.run(Diabetes)
