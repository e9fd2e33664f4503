package skysail;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;

/** A model as the native library calls it. No exception leaves it: what it returns is a status of the C ABI. */
final class Glue {
    private static final int GOOD = 0;
    private static final int ZEROS = 1;
    private static final int FAILED = -1;
    private static final int UNFIT = -2;
    private static final byte[] NOTHING_MORE = Native.bytes("the model failed, and so did telling why");

    private final Model model;
    private final Schema schema;
    private final Stages stages = new Stages();
    private Ctx ctx;
    private byte[] message = {};

    Glue(Model model, Schema schema) {
        this.model = model;
        this.schema = schema;
    }

    int load(byte[] directory, byte[] name, byte[] version) {
        try {
            ctx = Ctx.of(text(directory), text(name), text(version));
            model.load(ctx);
            return GOOD;
        } catch (Throwable error) {
            return failure(Missing.told(error).map(Throwable.class::cast).orElse(error));
        }
    }

    int predict(long batch, long out, int rows, long remainingUs) {
        Batch input = new Batch(new Handle(batch), stages, schema.inputs, rows);
        Handle output = new Handle(out);
        try {
            Outputs outputs = new Outputs(output, schema.outputs, rows);
            model.predict(input, outputs, ctx.within(remainingUs));
            outputs.finish();
            return GOOD;
        } catch (Throwable error) {
            return failure(error);
        } finally {
            stages.clear();
            input.end();
            output.end();
        }
    }

    int warmUp() {
        try {
            return model.warmUp(ctx) ? GOOD : ZEROS;
        } catch (Throwable error) {
            return failure(error);
        }
    }

    void unload() {
        try {
            model.unload();
        } catch (Throwable error) {
            failure(error);
        }
    }

    /** Why the last call failed. */
    byte[] message() {
        return message;
    }

    private int failure(Throwable error) {
        boolean isUnfit = error instanceof UnfitException;
        if (isUnfit || error instanceof SkysailException) {
            message = Native.bytes(String.valueOf(error.getMessage()));
            return isUnfit ? UNFIT : FAILED;
        }
        // Should memory be short, this is told.
        message = NOTHING_MORE;
        String what = error.getClass().getName();
        try {
            StringWriter trace = new StringWriter();
            error.printStackTrace(new PrintWriter(trace, true));
            Native.log(Native.ERROR, Native.bytes(trace.toString().stripTrailing()));
            what = error.toString();
        } catch (RuntimeException ofItsOwn) {
            what += ", which does not say why: " + ofItsOwn.getClass().getName();
        }
        message = Native.bytes(what);
        return FAILED;
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
