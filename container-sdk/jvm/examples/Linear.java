import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import skysail.*;

/** A linear scorer: y = W x, with W of 10 rows of 784 floats in w.f32. */
public class Linear implements Model {
    private final float[] w = new float[10 * 784];

    public Schema schema() {
        return new Schema().input("x", "f32[784]").output("y", "f32[10]");
    }

    public void load(Ctx ctx) throws Exception {
        byte[] file = Files.readAllBytes(ctx.path("w.f32"));
        ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(w);
    }

    public void predict(Batch in, Outputs out, Ctx ctx) {
        FloatBuffer x = in.f32("x"), y = out.f32("y");
        for (int row = 0; row < in.rows(); row++)
            for (int o = 0; o < 10; o++) {
                float sum = 0;
                for (int i = 0; i < 784; i++) sum += w[o * 784 + i] * x.get(row * 784 + i);
                y.put(sum);
            }
    }

    public static void main(String[] arguments) {
        Skysail.run(new Linear(), arguments);
    }
}
