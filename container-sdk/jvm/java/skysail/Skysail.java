package skysail;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * The program around a model.
 *
 * <p>{@code java -cp skysail.jar:model.jar skysail.Skysail com.example.Linear --rpc ...} serves a class by
 * its name; a model may as well have a {@code main} of its own, which calls {@link #run}.
 */
public final class Skysail {
    private static final int USAGE = 2;
    /** How often it is looked at, once the JVM shuts down, whether the model itself asked for that. */
    private static final int EXIT_CHECK_MS = 100;

    private Skysail() {}

    /**
     * Serves the model of a class that has a constructor without arguments.
     *
     * @param arguments the class's name, then the container's flags
     */
    public static void main(String[] arguments) {
        if (arguments.length == 0 || arguments[0].startsWith("-")) {
            fail("name the model's class: java -cp skysail.jar:MODEL.jar skysail.Skysail CLASS --help");
        }
        String[] rest = new String[arguments.length - 1];
        System.arraycopy(arguments, 1, rest, 0, rest.length);
        run(instance(arguments[0]), rest);
    }

    /**
     * The whole of a container's {@code main}: reads the flags and the environment ({@code --help} shows
     * them), loads the model, warms it up and serves it until it is asked to stop by SIGTERM or SIGINT. Ends
     * the JVM; the exit status is 0 done, 1 the model failed or the front end refuses it, 2 wrong usage,
     * environment, model or schema. What is wrong is told on standard error in a line.
     *
     * @param model the model
     * @param arguments those of {@code main}
     */
    public static void run(Model model, String... arguments) {
        if (model == null) {
            fail("the model is null");
        }
        int status = USAGE;
        try {
            status = serve(model, arguments);
        } catch (UnfitException error) {
            fail(error.getMessage());
        }
        System.exit(status);
    }

    private static int serve(Model model, String[] arguments) {
        Native.load();
        Schema schema = schema(model);
        byte[][] argv = new byte[arguments.length + 1][];
        argv[0] = Native.bytes(model.getClass().getName());
        for (int at = 0; at < arguments.length; at++) {
            argv[at + 1] = Native.bytes(String.valueOf(arguments[at]));
        }
        // The JVM begins to shut down at the first SIGTERM, as the SDK begins to leave: it waits for that.
        CountDownLatch served = new CountDownLatch(1);
        int[] status = {1};
        Thread hook = new Thread(() -> {
            try {
                while (!served.await(EXIT_CHECK_MS, TimeUnit.MILLISECONDS)) {
                    if (isExiting()) {
                        System.err.println("error: the model called System.exit, which ends the container");
                        break;
                    }
                }
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
            Runtime.getRuntime().halt(status[0]);
        });
        Runtime.getRuntime().addShutdownHook(hook);
        try {
            String sdk = "jvm/" + version();
            status[0] = Native.run(new Glue(model, schema), Native.bytes(schema.toString()),
                    schema.maxBatch(), Native.bytes(sdk), argv);
        } finally {
            served.countDown();
        }
        return status[0];
    }

    /** Whether a thread that is none of the JVM's is in System.exit: it will not come back from there. */
    private static boolean isExiting() {
        for (var thread : Thread.getAllStackTraces().entrySet()) {
            for (StackTraceElement frame : thread.getValue()) {
                if (frame.getClassName().equals("java.lang.System") && frame.getMethodName().equals("exit")) {
                    return true;
                }
            }
        }
        return false;
    }

    private static Schema schema(Model model) {
        Schema schema;
        try {
            schema = model.schema();
        } catch (RuntimeException error) {
            throw new UnfitException("the model has no schema: " + error);
        }
        if (schema == null) {
            throw new UnfitException("the model has no schema: schema() returned null");
        }
        if (schema.maxBatch() < 1) {
            throw new UnfitException("the model's schema is not valid: maxBatch is " + schema.maxBatch()
                    + ", 1 to 65536 allowed");
        }
        return schema;
    }

    private static String version() {
        String version = Skysail.class.getPackage().getImplementationVersion();
        return version == null ? "unknown" : version;
    }

    private static Model instance(String name) {
        try {
            Object model = Class.forName(name).getDeclaredConstructor().newInstance();
            if (model instanceof Model found) {
                return found;
            }
            fail(name + " is no model: it does not implement skysail.Model");
        } catch (ClassNotFoundException | NoClassDefFoundError error) {
            fail("there is no class " + error.getMessage() + ": put its jar or directory on the class path, by -cp");
        } catch (java.lang.reflect.InvocationTargetException error) {
            fail(name + " cannot be made: " + error.getCause());
        } catch (ReflectiveOperationException error) {
            fail(name + " cannot be made: it needs a public class and constructor without arguments");
        }
        throw new AssertionError("unreachable");
    }

    private static void fail(String why) {
        System.err.println("error: " + why);
        System.exit(USAGE);
    }
}
