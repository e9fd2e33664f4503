package skysail;

/**
 * The program around a model.
 *
 * <p>{@code java -cp skysail.jar:model.jar skysail.Skysail com.example.Linear --rpc ...} serves a class by
 * its name; a model may as well have a {@code main} of its own, which calls {@link #run}.
 */
// This class and Model, which is in a signature here, are compiled for Java 8: an older JVM than the others
// are for comes as far as to be told so.
public final class Skysail {
    private static final int JAVA_MIN = 17;
    private static final int USAGE = 2;

    private Skysail() {}

    /**
     * Serves the model of a class that has a constructor without arguments.
     *
     * @param arguments the class's name, then the container's flags
     */
    public static void main(String[] arguments) {
        checkJava();
        Serving.main(arguments);
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
        checkJava();
        Serving.run(model, arguments);
    }

    private static void checkJava() {
        String version = System.getProperty("java.specification.version");
        // 1.8, then 9 and on.
        if (version.startsWith("1.") || Integer.parseInt(version) < JAVA_MIN) {
            fail("this is Java " + version + ", in " + System.getProperty("java.home") + ": install a JRE from "
                    + JAVA_MIN + " on, and start the container with its bin/java");
        }
    }

    /** Ends the JVM, for a reason that is not the model's. */
    static void fail(String why) {
        System.err.println("error: " + why);
        System.exit(USAGE);
    }
}
