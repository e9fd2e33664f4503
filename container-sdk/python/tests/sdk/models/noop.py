"""Does nothing, as often as it can be asked."""

import numpy as np
import skysail


@skysail.model(x="f32[784]", returns={"y": "f32"}, max_batch=1)
class Noop:
    def load(self, ctx):
        self.y = np.ones(1, np.float32)

    def predict(self, x):
        return self.y


skysail.run(Noop)
