import java.nio.FloatBuffer;
import skysail.*;

/** Answers 1 without reading its input; measures the rest ({@code --bin rpc --container}). */
public class Noop implements Model {
    @Override
    public Schema schema() {
        return new Schema().input("x", "f32[784]").output("y", "f32").maxBatch(1024);
    }

    @Override
    public void predict(Batch in, Outputs out, Ctx ctx) {
        FloatBuffer y = out.f32("y");
        for (int row = 0; row < in.rows(); row++) y.put(1);
    }

    public static void main(String[] arguments) {
        Skysail.run(new Noop(), arguments);
    }
}
