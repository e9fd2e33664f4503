import skysail.Skysail;

/** Takes this JVM for one of the version that its first argument names. */
public class OldJava {
    public static void main(String[] arguments) {
        System.setProperty("java.specification.version", arguments[0]);
        Skysail.main(new String[] {"Noop", "--selftest"});
    }
}
