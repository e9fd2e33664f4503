import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import skysail.Batch;
import skysail.Ctx;
import skysail.Model;
import skysail.Outputs;
import skysail.Schema;
import skysail.Skysail;
import skysail.UnfitException;

/** Does what a text says, well or not. VARIANT in the environment chooses a model that is wrong. */
public class Moody implements Model {
    private static final String VARIANT = System.getenv().getOrDefault("VARIANT", "");
    private static final int NOT_WITHOUT_STATICS = 1 / ("static".equals(VARIANT) ? 0 : 1);
    private FloatBuffer whole;
    private Outputs keptOutputs;
    private final List<FloatBuffer> kept = new ArrayList<>();

    @Override
    public Schema schema() {
        switch (VARIANT) {
            case "null":
                return null;
            case "endless":
                overflow(0);
                return null;
            case "nameless":
                return new Schema().input(null, "f32");
            case "typeless":
                return new Schema().input("say", "f33").output("said", "string");
            case "greedy":
                return new Schema().input("say", "string").output("said", "string").maxBatch(100000);
            default:
                return new Schema().input("say", "string").input("x", "f32[4096]").output("said", "string")
                        .output("n", "i32").output("v", "f32[-1,2]");
        }
    }

    @Override
    public void load(Ctx ctx) throws Exception {
        switch (VARIANT) {
            case "classless":
                Class.forName("com.example.Weights");
                break;
            case "nativeless":
                System.loadLibrary("weights");
                break;
            case "broken":
                throw new IllegalStateException("no weights");
            case "old":
                throw new UnfitException("weights.bin is of version 1: train it again");
            default:
        }
        ctx.log("loaded " + ctx.model() + ":" + ctx.version());
    }

    @Override
    public void predict(Batch in, Outputs out, Ctx ctx) throws Exception {
        List<String> words = in.strings("say");
        FloatBuffer x = in.f32("x");
        for (FloatBuffer old : kept) {
            // On a stage zeros, in a copy what it was.
            float first = old.get(0);
            require(first == 0 || first < 100, "a kept buffer shows another batch");
            require(old.get(4095) == first, "a kept buffer has changed");
        }
        require(whole == null || !whole.hasRemaining(), "a kept buffer can be read");
        float[] row0 = new float[4096];
        in.row("x", in.rows() - 1, in.f32("x")).get(row0);
        require(row0[4095] == row0[0], "a batch is not what it was");
        whole = x;
        for (int row = 0; row < in.rows(); row++) {
            if (!say(words.get(row), row, in, out, ctx, x)) {
                continue;
            }
            out.push("said", words.get(row));
            out.pushRow("v", new float[] {1, 2}, 1, 2);
        }
    }

    private boolean say(String word, int row, Batch in, Outputs out, Ctx ctx, FloatBuffer x) throws Exception {
        switch (word) {
            case "fail" -> throw new java.io.IOException("as you wish: é");
            case "silent" -> throw new IllegalStateException() {
                @Override
                public String toString() {
                    throw new UnsupportedOperationException();
                }
            };
            case "exit" -> System.exit(0);
            case "overflow" -> overflow(0);
            case "memory" -> {
                List<long[]> all = new ArrayList<>();
                while (true) {
                    all.add(new long[1 << 20]);
                }
            }
            case "none" -> {
                return false;
            }
            case "null" -> out.push("said", (String) null);
            case "nullrow" -> out.pushRow("v", null);
            case "type" -> out.pushRow("v", new double[2]);
            case "odd" -> out.pushRow("v", new float[3]);
            case "shape" -> out.pushRow("v", new float[2], 2, 1);
            case "huge" -> out.pushRow("v", new float[2], Long.MAX_VALUE, 2);
            case "name" -> in.f32("z");
            case "wrong" -> in.i64("x");
            case "nullname" -> in.f32(null);
            case "outside" -> in.row("x", 7, in.f32("x"));
            case "output" -> out.f32("n");
            case "inplace" -> out.f32("v");
            case "thread" -> elsewhere(in);
            case "write" -> x.put(0, 1);
            case "time" -> out.i32("n").put(row, (int) (ctx.remainingNanos() / 1_000_000_000L));
            case "keep" -> {
                keptOutputs = out;
                kept.add(x.slice(row * 4096, 4096));
            }
            case "first" -> out.i32("n").put(row, (int) x.get(row * 4096));
            case "kept" -> {
                require(!kept.isEmpty(), "nothing is kept");
                keptOutputs.failRow(0, "late");
            }
            case "row" -> {
                out.failRow(row, "not this one");
                return false;
            }
            default -> {}
        }
        return true;
    }

    private static int overflow(int depth) {
        return overflow(depth + 1) + 1;
    }

    private static void elsewhere(Batch in) throws Exception {
        AtomicReference<RuntimeException> error = new AtomicReference<>();
        Thread other = new Thread(() -> {
            try {
                in.f32("x");
            } catch (RuntimeException found) {
                error.set(found);
            }
        });
        other.start();
        other.join();
        throw error.get();
    }

    private static void require(boolean isSo, String what) {
        if (!isSo) {
            throw new AssertionError(what);
        }
    }

    @Override
    public void unload() {
        System.err.println("unloaded");
        throw new IllegalStateException("it does not unload well");
    }

    public static void main(String[] arguments) {
        Skysail.run("model".equals(VARIANT) ? null : new Moody(), arguments);
    }
}
