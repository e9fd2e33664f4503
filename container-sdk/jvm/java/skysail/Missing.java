package skysail;

import java.util.Optional;

/** Errors of a JVM that does not find what a model is made of: what to do about each. */
final class Missing {
    private static final String CLASS_PATH = ": put its jar or directory on the class path, by -cp";

    private Missing() {}

    /** What to do, if it is such an error. */
    static Optional<UnfitException> told(Throwable error) {
        return Optional.ofNullable(advice(error)).map(UnfitException::new);
    }

    private static String advice(Throwable error) {
        String what = error.getMessage();
        // Of a class that is there, but failed when it was first used, it is said in a sentence.
        boolean isName = what != null && what.indexOf(' ') < 0;
        if (error instanceof ClassNotFoundException || error instanceof NoClassDefFoundError && isName) {
            return "there is no class " + what + CLASS_PATH;
        }
        if (error instanceof UnsupportedClassVersionError) {
            return what + ": run a later Java, or compile for this one by javac --release";
        }
        if (error instanceof UnsatisfiedLinkError) {
            return "a native library is missing: " + what + ": install it, or name its directory by "
                    + "-Djava.library.path";
        }
        return null;
    }
}
