package skysail;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;

/** The native library of the jar, for this machine. */
final class Native {
    static final int ERROR = 1;
    static final int INFO = 3;

    private Native() {}

    /** Loads the library once. */
    static synchronized void load() {
        if (isLoaded) {
            return;
        }
        String platform = platform();
        String resource = "native/" + platform + "/libskysail_jni.so";
        try (InputStream library = Native.class.getResourceAsStream(resource)) {
            if (library == null) {
                throw new UnfitException("skysail.jar has no native library for " + platform
                        + ": build the jar on such a machine, by container-sdk/jvm/build");
            }
            // Of its own, so that nobody can put another library there.
            Path directory = Files.createTempDirectory("skysail");
            Path file = directory.resolve("libskysail_jni.so");
            try {
                Files.copy(library, file, StandardCopyOption.REPLACE_EXISTING);
                System.load(file.toString());
            } finally {
                // What is loaded needs no name.
                Files.deleteIfExists(file);
                Files.delete(directory);
            }
        } catch (IOException error) {
            throw new UnfitException("the native library cannot be written: " + error.getMessage()
                    + "; -Djava.io.tmpdir=DIR names another directory");
        } catch (UnsatisfiedLinkError error) {
            throw new UnfitException("the native library cannot be loaded: " + error.getMessage()
                    + "; install what is missing there, or build the jar on a machine like this one, or if its "
                    + "directory is mounted noexec name another by -Djava.io.tmpdir=DIR");
        }
        isLoaded = true;
    }

    private static boolean isLoaded;

    private static String platform() {
        String os = System.getProperty("os.name").toLowerCase(Locale.ROOT).replace(' ', '-');
        String arch = System.getProperty("os.arch");
        return os + "-" + ("amd64".equals(arch) ? "x86_64" : arch);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static native int run(Glue glue, byte[] signature, long maxBatch, byte[] sdk, byte[][] arguments);

    static native Object elements(long batch, int index);

    static native long[] row(long batch, int index, int row);

    static native long[] strings(long batch, int index, int row);

    static native void set(long out, int index, Object elements, int width);

    static native void push(long out, int index, Object elements, int width, long[] dims, long[] offsets);

    static native void failRow(long out, int row, byte[] why);

    static native long stage(long bytes);

    static native ByteBuffer stageBuffer(long stage, long bytes);

    static native long stageShow(long stage, long batch, int index);

    static native void stageClear(long stage);

    static native void stageFree(long stage);

    static native void log(int level, byte[] what);
}
