"""Keeps everything that it is shown, and counts what has changed since."""

import numpy as np
import skysail

#: More would fill the memory of a long run, and prove no more.
KEPT_MAX = 400


@skysail.model(x="f32[16]", t="f32[-1]", returns={"changed": "i64", "kept": "i64"}, max_batch=64)
class Keeper:
    def load(self, ctx):
        self.kept = []

    def predict(self, x, t):
        changed = sum(not np.array_equal(np.asarray(view), copy) for view, copy in self.kept)
        if len(self.kept) < KEPT_MAX:
            # Slices, transposes, reshapes and memoryviews see the same memory.
            for view in (x, x[1:, 3:], x.T, x.reshape(-1, 4), memoryview(x), t[0]):
                self.kept.append((view, np.array(view)))
        rows = len(x)
        return {"changed": np.full(rows, changed), "kept": np.full(rows, len(self.kept))}


skysail.run(Keeper)
