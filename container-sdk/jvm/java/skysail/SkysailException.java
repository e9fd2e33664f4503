package skysail;

import java.nio.charset.StandardCharsets;

/** A tensor of a batch cannot be read or written like that. */
public class SkysailException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /**
     * An error of the SDK.
     *
     * @param message what is wrong, with the value and what was expected
     */
    public SkysailException(String message) {
        super(message);
    }

    /** What the native library said. */
    SkysailException(byte[] message) {
        super(new String(message, StandardCharsets.UTF_8));
    }
}
