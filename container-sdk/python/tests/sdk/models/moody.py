"""Does what its input says."""

import os
import sys
import time

import numpy as np
import skysail


@skysail.model(say="string", returns={"said": "string", "n": "i32"}, max_batch=8)
class Moody:
    def load(self, ctx):
        self.loaded_in = os.getpid()
        if ctx.model == "moody-broken":
            raise RuntimeError("no weights")
        if ctx.model == "moody-old":
            raise skysail.Unfit("weights.bin is of version 1: train it again")
        if ctx.model == "moody-lacking":
            import no_such_library  # noqa: F401

    def predict(self, say, ctx):
        assert os.getpid() == self.loaded_in and ctx.rows == len(say)
        n = np.zeros(len(say), np.int32)
        for row, word in enumerate(say):
            if word == "raise":
                raise KeyError("as you wish")
            if word == "exit":
                sys.exit(3)
            if word == "none":
                return None
            if word == "short":
                return {"said": say[1:], "n": n}
            if word == "floats":
                return say, n + 0.5
            if word == "objects":
                return say, np.array([object()] * len(say))
            if word == "unknown":
                return {"said": say, "m": n}
            if word == "fail row":
                ctx.fail_row(row, "this row")
            if word == "time":
                n[row] = round(min(ctx.remaining(), 1e6))
            if word == "pid":
                n[row] = os.getpid()
            if word == "wait":
                time.sleep(1)
        said = [skysail.RowError("not this one") if word == "row" else word for word in say]
        return said, n

    def unload(self):
        print("unloaded", flush=True)


skysail.run(Moody)
