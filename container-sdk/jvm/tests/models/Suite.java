import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import skysail.Batch;
import skysail.Ctx;
import skysail.Model;
import skysail.Outputs;
import skysail.Schema;
import skysail.Skysail;

/** The models of container-sdk/conformance/README.md: the one that --model names. */
public class Suite {
    private static final List<String> TYPES = List.of("bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64",
            "f16", "bf16", "f32", "f64", "bytes", "string");

    private static final Map<String, Model> MODELS = new TreeMap<>();

    static {
        MODELS.put("sum", model(new Schema().input("x", "f64[-1]").output("sum", "f64"), Suite::sum));
        MODELS.put("golden-fixed",
                model(new Schema().input("x", "f32[3]").output("y", "f32[2]").output("top", "i64"), Suite::fixed));
        MODELS.put("golden-texts", model(new Schema().input("s", "string").input("tags", "bytes[-1]")
                .output("upper", "string").output("back", "bytes[-1]"), Suite::texts));
        Schema types = new Schema();
        for (String type : TYPES) {
            types.input("t_" + type, type + "[2]").output("t_" + type, type + "[2]");
        }
        MODELS.put("golden-types", model(types, Suite::types));
        MODELS.put("golden-shapes",
                model(new Schema().input("m", "i32[-1,-1]").output("m", "i32[-1,-1]"), Suite::shapes));
        MODELS.put("golden-picky", model(new Schema().input("x", "i64").output("y", "i64"), Suite::picky));
        MODELS.put("golden-slow", model(new Schema().input("ms", "u32").output("y", "u32"), Suite::slow));
        MODELS.put("suite-inputs", model(new Schema().input("a", "f32[2]").input("b", "i64").input("c", "string")
                .output("total", "f64").output("label", "string"), Suite::inputs));
        MODELS.put("suite-wrong",
                model(new Schema().input("how", "i64").output("y", "f32[2]").output("s", "string"), Suite::wrong));
        MODELS.put("suite-slow-load", new Scaled(ctx -> {
            Thread.sleep(1500);
            return 1;
        }));
        MODELS.put("suite-crash-load", new Scaled(ctx -> {
            throw new IllegalStateException("no weights here");
        }));
        MODELS.put("suite-files",
                new Scaled(ctx -> Float.parseFloat(Files.readString(ctx.path("factor.txt")).strip())));
    }

    /** A model that loads nothing. */
    private interface Predict {
        void predict(Batch in, Outputs out) throws Exception;
    }

    private static Model model(Schema schema, Predict predict) {
        return new Model() {
            @Override
            public Schema schema() {
                return schema;
            }

            @Override
            public void predict(Batch in, Outputs out, Ctx ctx) throws Exception {
                predict.predict(in, out);
            }
        };
    }

    /** What a model multiplies by. */
    private interface Factor {
        float load(Ctx ctx) throws Exception;
    }

    private static final class Scaled implements Model {
        private final Factor loader;
        private float factor;

        Scaled(Factor loader) {
            this.loader = loader;
        }

        @Override
        public Schema schema() {
            return new Schema().input("x", "f32").output("y", "f32");
        }

        @Override
        public void load(Ctx ctx) throws Exception {
            factor = loader.load(ctx);
        }

        @Override
        public void predict(Batch in, Outputs out, Ctx ctx) {
            FloatBuffer x = in.f32("x"), y = out.f32("y");
            while (x.hasRemaining()) {
                y.put(factor * x.get());
            }
        }
    }

    private static void sum(Batch in, Outputs out) {
        DoubleBuffer sums = out.f64("sum");
        for (int row = 0; row < in.rows(); row++) {
            DoubleBuffer x = in.row("x", row, in.f64("x"));
            double sum = 0;
            while (x.hasRemaining()) {
                sum += x.get();
            }
            sums.put(sum);
        }
    }

    private static void fixed(Batch in, Outputs out) {
        FloatBuffer x = in.f32("x"), y = out.f32("y");
        LongBuffer tops = out.i64("top");
        for (int row = 0; row < in.rows(); row++) {
            float[] one = new float[3];
            x.get(one);
            y.put(one[0] + one[1]).put(2 * one[2]);
            int top = one[1] > one[0] ? 1 : 0;
            tops.put(one[2] > one[top] ? 2 : top);
        }
    }

    private static void texts(Batch in, Outputs out) {
        for (int row = 0; row < in.rows(); row++) {
            // a to z only, as bytes have it.
            byte[] text = in.strings("s").get(row).getBytes(StandardCharsets.UTF_8);
            for (int at = 0; at < text.length; at++) {
                text[at] -= text[at] >= 'a' && text[at] <= 'z' ? 32 : 0;
            }
            out.push("upper", text);
            List<byte[]> tags = new ArrayList<>(in.bytes("tags", row));
            Collections.reverse(tags);
            out.pushBytes("back", tags);
        }
    }

    private static void types(Batch in, Outputs out) {
        for (String type : TYPES) {
            String name = "t_" + type;
            switch (type) {
                case "bool", "u8", "i8" -> out.i8(name).put(in.i8(name));
                case "u16", "i16", "f16", "bf16" -> out.i16(name).put(in.i16(name));
                case "u32", "i32" -> out.i32(name).put(in.i32(name));
                case "u64", "i64" -> out.i64(name).put(in.i64(name));
                case "f32" -> out.f32(name).put(in.f32(name));
                case "f64" -> out.f64(name).put(in.f64(name));
                default -> {
                    for (int row = 0; row < in.rows(); row++) {
                        out.pushBytes(name, in.bytes(name, row));
                    }
                }
            }
        }
    }

    private static void shapes(Batch in, Outputs out) {
        for (int row = 0; row < in.rows(); row++) {
            IntBuffer m = in.row("m", row, in.i32("m")).slice();
            long[] dims = in.dims("m", row);
            int height = (int) dims[0], width = (int) dims[1];
            int[] transposed = new int[height * width];
            for (int at = 0; at < transposed.length; at++) {
                transposed[at % width * height + at / width] = m.get(at);
            }
            out.pushRow("m", transposed, width, height);
        }
    }

    private static void picky(Batch in, Outputs out) {
        LongBuffer x = in.i64("x"), y = out.i64("y");
        for (int row = 0; row < in.rows(); row++) {
            if (x.get(row) == 13) {
                throw new IllegalArgumentException("13 is unlucky");
            }
        }
        for (int row = 0; row < in.rows(); row++) {
            if (x.get(row) < 0) {
                out.failRow(row, "x is negative");
            } else {
                y.put(row, 2 * x.get(row));
            }
        }
    }

    private static void slow(Batch in, Outputs out) throws InterruptedException {
        int[] ms = new int[in.rows()];
        in.i32("ms").get(ms);
        Thread.sleep(Arrays.stream(ms).mapToLong(Integer::toUnsignedLong).max().orElse(0));
        out.i32("y").put(ms);
    }

    private static void inputs(Batch in, Outputs out) {
        FloatBuffer a = in.f32("a");
        LongBuffer b = in.i64("b");
        DoubleBuffer totals = out.f64("total");
        for (int row = 0; row < in.rows(); row++) {
            totals.put((double) a.get(2 * row) + (double) a.get(2 * row + 1) + b.get(row));
            out.push("label", in.strings("c").get(row) + ":" + b.get(row));
        }
    }

    private static void wrong(Batch in, Outputs out) throws Exception {
        LongBuffer how = in.i64("how");
        int asked = 0;
        while (asked == 0 && how.hasRemaining()) {
            asked = (int) how.get();
        }
        int texts = in.rows();
        switch (asked) {
            case 0 -> {}
            case 1 -> throw new java.io.IOException("as asked");
            case 2 -> throw new IllegalStateException("as asked");
            case 3 -> texts++;
            case 4 -> texts--;
            case 5 -> out.pushRow("y", new float[3]);
            case 6 -> out.pushRow("y", new double[2]);
            default -> texts = 0;
        }
        for (int row = 0; row < texts; row++) {
            out.push("s", "");
        }
    }

    /** Serves it. */
    public static void main(String[] arguments) {
        int place = Arrays.asList(arguments).indexOf("--model") + 1;
        String name = place > 0 && place < arguments.length ? arguments[place] : "";
        if (!MODELS.containsKey(name)) {
            System.err.println("the suite has no model " + name + "; it has " + MODELS.keySet());
            System.exit(2);
        }
        Skysail.run(MODELS.get(name), arguments);
    }
}
