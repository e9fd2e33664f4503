import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import skysail.Batch;
import skysail.Ctx;
import skysail.Model;
import skysail.Outputs;
import skysail.Schema;
import skysail.Skysail;

/** Softmax regression on images of digits: a bias and 64 weights a class, a class a line of weights.txt. */
public class Digits implements Model {
    private float[][] weights;

    @Override
    public Schema schema() {
        return new Schema().input("x", "f32[64]").output("logits", "f32[10]").output("digit", "i32").maxBatch(100);
    }

    @Override
    public void load(Ctx ctx) throws IOException {
        List<String> lines = Files.readAllLines(ctx.path("weights.txt"));
        weights = new float[lines.size()][];
        for (int line = 0; line < weights.length; line++) {
            String[] words = lines.get(line).split(" ");
            weights[line] = new float[words.length];
            for (int at = 0; at < words.length; at++) {
                weights[line][at] = Float.parseFloat(words[at]);
            }
        }
    }

    @Override
    public boolean warmUp(Ctx ctx) {
        return weights[0].length == 65;
    }

    @Override
    public void predict(Batch in, Outputs out, Ctx ctx) {
        FloatBuffer all = in.f32("x");
        FloatBuffer logits = out.f32("logits");
        IntBuffer digit = out.i32("digit");
        float[] image = new float[64];
        for (int row = 0; row < in.rows(); row++) {
            in.row("x", row, all).get(image);
            int best = 0;
            for (int c = 0; c < 10; c++) {
                float sum = weights[c][0];
                for (int pixel = 0; pixel < 64; pixel++) {
                    sum += weights[c][pixel + 1] * image[pixel] / 16;
                }
                logits.put(row * 10 + c, sum);
                best = sum > logits.get(row * 10 + best) ? c : best;
            }
            digit.put(row, best);
        }
    }

    public static void main(String[] arguments) {
        Skysail.run(new Digits(), arguments);
    }
}
