/**
 * Wraps a model of the JVM in a Skysail container.
 *
 * <p>Implement {@link skysail.Model} and call {@link skysail.Skysail#run}; {@code docs/guides/jvm.md} shows
 * a model from its first line to its first answer. Types are plain ones of the JDK, so that Scala and
 * Kotlin use them as they are.
 */
package skysail;
