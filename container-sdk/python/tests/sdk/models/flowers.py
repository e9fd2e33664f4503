"""scikit-learn on iris, of four named inputs: the name of the flower by a forest, row by row."""

import skysail
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier


def train():
    flowers = load_iris()
    forest = RandomForestClassifier(10, random_state=0).fit(flowers.data, flowers.target)
    return forest, flowers.target_names


@skysail.model(
    sepal_length="f64",
    sepal_width="f64",
    petal_length="f64",
    petal_width="f64",
    returns={"name": "string", "p": "f64[3]"},
)
class Flowers:
    def load(self, ctx):
        self.forest, self.names = train()

    def predict_row(self, sepal_length, sepal_width, petal_length, petal_width):
        p = self.forest.predict_proba([[sepal_length, sepal_width, petal_length, petal_width]])[0]
        return {"name": str(self.names[p.argmax()]), "p": p}


skysail.run(Flowers)
