import java.nio.FloatBuffer;
import skysail.*;

/** A network of 784, 512, 512 and 10 numbers; its twins are in Python and Rust ({@code --bin sdks}). */
public class Mlp implements Model {
    private static final int[] WIDTHS = {784, 512, 512, 10};
    private final float[][][] layers = new float[WIDTHS.length - 1][][];

    @Override
    public Schema schema() {
        return new Schema().input("x", "f32[784]").output("y", "f32[10]").maxBatch(256);
    }

    @Override
    public void load(Ctx ctx) {
        for (int at = 0; at < layers.length; at++) layers[at] = weights(at);
    }

    /** The same numbers in every language, of about the size that keeps a layer's outputs near 1. */
    private static float[][] weights(int layer) {
        int out = WIDTHS[layer + 1];
        float[][] weights = new float[WIDTHS[layer]][out];
        double scale = 3.5 / Math.sqrt(WIDTHS[layer]);
        for (int i = 0; i < weights.length * out; i++) {
            long mixed = i * 1103515245L + 12345L * (layer + 1) & 0x7fffffff;
            weights[i / out][i % out] = (float) ((mixed / 2147483648.0 - 0.5) * scale);
        }
        return weights;
    }

    @Override
    public void predict(Batch in, Outputs out, Ctx ctx) {
        FloatBuffer x = in.f32("x"), y = out.f32("y");
        float[][] rows = new float[in.rows()][WIDTHS[0]];
        for (float[] row : rows) x.get(row);
        for (int at = 0; at < layers.length; at++) {
            float[][] next = new float[rows.length][WIDTHS[at + 1]];
            multiply(rows, layers[at], next);
            if (at + 1 < layers.length) for (float[] row : next) cut(row);
            rows = next;
        }
        for (float[] row : rows) y.put(row);
    }

    /** Four rows of weights at a time, which stay in the nearest cache for all rows of the batch. */
    private static void multiply(float[][] from, float[][] weights, float[][] to) {
        for (int i = 0; i < weights.length; i += 4)
            for (int row = 0; row < from.length; row++)
                add(from[row], i, weights[i], weights[i + 1], weights[i + 2], weights[i + 3], to[row]);
    }

    /** A loop of which the JVM makes vector instructions: whole arrays, and one that is written. */
    private static void add(float[] x, int i, float[] a, float[] b, float[] c, float[] d, float[] to) {
        float x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
        for (int o = 0; o < to.length; o++) to[o] += x0 * a[o] + x1 * b[o] + x2 * c[o] + x3 * d[o];
    }

    private static void cut(float[] row) {
        for (int o = 0; o < row.length; o++) row[o] = Math.max(row[o], 0);
    }

    public static void main(String[] arguments) {
        Skysail.run(new Mlp(), arguments);
    }
}
