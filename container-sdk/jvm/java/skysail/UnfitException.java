package skysail;

/**
 * To be thrown by {@link Model#load} if not the model is wrong, but what it was started with or in: a library
 * is missing, a file is of another version. The container says so in a line and exits with status 2.
 */
public class UnfitException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /**
     * An unfit environment.
     *
     * @param message what is wrong, and what to do
     */
    public UnfitException(String message) {
        super(message);
    }
}
