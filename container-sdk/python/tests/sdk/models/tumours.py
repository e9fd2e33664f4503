"""scikit-learn on breast cancer: a pipeline, loaded from a file that joblib wrote."""

import joblib
import skysail
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train():
    rows, labels = load_breast_cancer(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)


@skysail.model(x="f64[30]", returns="f64[2]")
class Tumours:
    def load(self, ctx):
        self.pipeline = joblib.load(ctx.path("pipeline.joblib"))

    def predict(self, x):
        return self.pipeline.predict_proba(x)


skysail.run(Tumours)
