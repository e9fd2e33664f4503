import java.nio.FloatBuffer;
import skysail.Batch;
import skysail.Ctx;
import skysail.Model;
import skysail.Outputs;
import skysail.Schema;

/** Takes one row a batch: for the memory of many batches. Served by its name. */
public class Noop implements Model {
    @Override
    public Schema schema() {
        return new Schema().input("x", "f32").output("y", "f32").output("copies", "f32[-1]")
                .output("text", "string").maxBatch(1);
    }

    @Override
    public void predict(Batch in, Outputs out, Ctx ctx) {
        FloatBuffer x = in.f32("x");
        out.f32("y").put(x);
        out.pushRow("copies", new float[] {x.get(0), x.get(0)});
        out.push("text", "some text");
    }
}
