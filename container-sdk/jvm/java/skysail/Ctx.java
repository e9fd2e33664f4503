package skysail;

import java.nio.file.Path;

/** The model's names and files, and the time that the batch at hand has left. */
public final class Ctx {
    private final Path directory;
    private final String model;
    private final String version;
    private final long deadline;
    private final boolean hasDeadline;

    private Ctx(Path directory, String model, String version, boolean hasDeadline, long deadline) {
        this.directory = directory;
        this.model = model;
        this.version = version;
        this.hasDeadline = hasDeadline;
        this.deadline = deadline;
    }

    static Ctx of(String directory, String model, String version) {
        return new Ctx(Path.of(directory), model, version, false, 0);
    }

    /** With so many microseconds left. */
    Ctx within(long remainingUs) {
        if (remainingUs >= Long.MAX_VALUE / 1000) {
            return this;
        }
        return new Ctx(directory, model, version, true, System.nanoTime() + remainingUs * 1000);
    }

    /**
     * A file in the model's directory, which {@code --path} names and by default is the current one.
     *
     * @param name the file's name
     * @return its path
     */
    public Path path(String name) {
        return directory.resolve(name);
    }

    /**
     * The model's directory.
     *
     * @return its path
     */
    public Path directory() {
        return directory;
    }

    /**
     * The name under which the model is served.
     *
     * @return {@code local} where it is not served
     */
    public String model() {
        return model;
    }

    /**
     * The version under which the model is served.
     *
     * @return {@code 0} where it is not served
     */
    public String version() {
        return version;
    }

    /**
     * Nanoseconds until the last deadline in the batch.
     *
     * @return 0 when it has passed, {@link Long#MAX_VALUE} where there is none
     */
    public long remainingNanos() {
        return hasDeadline ? Math.max(0, deadline - System.nanoTime()) : Long.MAX_VALUE;
    }

    /**
     * Writes a line to the container's log, which is on standard error.
     *
     * @param message the line
     */
    public void log(String message) {
        Native.log(Native.INFO, Native.bytes(String.valueOf(message)));
    }
}
