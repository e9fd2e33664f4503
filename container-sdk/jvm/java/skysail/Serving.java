package skysail;

import java.lang.reflect.InvocationTargetException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** A model from its class or its object to the exit status; what {@link Skysail} says holds here. */
final class Serving {
    private static final int USAGE = 2;
    /** How often it is looked at, once the JVM shuts down, whether the model itself asked for that. */
    private static final int EXIT_CHECK_MS = 100;

    private Serving() {}

    static void main(String[] arguments) {
        if (arguments.length == 0 || arguments[0].startsWith("-")) {
            Skysail.fail("name the model's class: java -cp skysail.jar:MODEL.jar skysail.Skysail CLASS --help");
        }
        String[] rest = new String[arguments.length - 1];
        System.arraycopy(arguments, 1, rest, 0, rest.length);
        Model model = null;
        try {
            model = instance(arguments[0]);
        } catch (UnfitException error) {
            Skysail.fail(error.getMessage());
        }
        run(model, rest);
    }

    static void run(Model model, String[] arguments) {
        if (model == null) {
            Skysail.fail("the model is null");
        }
        int status = USAGE;
        try {
            status = serve(model, arguments);
        } catch (UnfitException error) {
            Skysail.fail(error.getMessage());
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
        } catch (UnfitException error) {
            throw error;
        } catch (RuntimeException | Error error) {
            throw Missing.told(error).orElse(new UnfitException("the model has no schema: " + error));
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
        String version = Serving.class.getPackage().getImplementationVersion();
        return version == null ? "unknown" : version;
    }

    private static Model instance(String name) {
        try {
            Object model = Class.forName(name).getDeclaredConstructor().newInstance();
            if (model instanceof Model found) {
                return found;
            }
            throw new UnfitException(name + " is no model: it does not implement skysail.Model");
        } catch (InvocationTargetException | ExceptionInInitializerError error) {
            throw unmade(name, error.getCause());
        } catch (ClassNotFoundException | LinkageError error) {
            throw unmade(name, error);
        } catch (ReflectiveOperationException error) {
            throw new UnfitException(
                    name + " cannot be made: it needs a public class and constructor without arguments");
        }
    }

    private static UnfitException unmade(String name, Throwable error) {
        if (error instanceof UnfitException unfit) {
            return unfit;
        }
        return Missing.told(error).orElse(new UnfitException(name + " cannot be made: " + error));
    }
}
