"""scikit-learn on the digits that it ships: probabilities of a softmax regression."""

import numpy as np
import skysail
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


def train():
    images, labels = load_digits(return_X_y=True)
    return LogisticRegression(max_iter=200).fit(images[:1200] / 16, labels[:1200])


@skysail.model(x="f32[64]", returns={"p": "f64[10]", "digit": "i32"}, max_batch=128)
class Digits:
    def load(self, ctx):
        self.model = train()

    def predict(self, x):
        p = self.model.predict_proba(x / np.float32(16))
        return p, p.argmax(axis=1)


if __name__ == "__main__":
    skysail.run(Digits)
