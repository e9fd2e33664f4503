package skysail;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.StringJoiner;

/**
 * A model's tensors and the most rows that it takes in one batch.
 *
 * <p>A tensor's text is an element type and the dimensions of one row: {@code f32[784]}, {@code i64} (a
 * scalar a row), {@code f32[-1,8]} (-1: rows may differ), {@code string}, {@code bytes[3]}. Element types are
 * {@code bool}, {@code u8} to {@code u64}, {@code i8} to {@code i64}, {@code f16}, {@code bf16}, {@code f32},
 * {@code f64}, {@code bytes} and {@code string}. A text that is not like that is told when the container
 * starts.
 */
public final class Schema {
    final List<Tensor> inputs = new ArrayList<>();
    final List<Tensor> outputs = new ArrayList<>();
    private final StringJoiner inputTexts = new StringJoiner(", ");
    private final StringJoiner outputTexts = new StringJoiner(", ");
    private int maxBatch = 64;

    /** No tensors yet, batches of at most 64 rows. */
    public Schema() {}

    /**
     * Adds an input.
     *
     * @param name its name
     * @param type the type of one row
     * @return this schema
     */
    public Schema input(String name, String type) {
        inputTexts.add(add(inputs, name, type));
        return this;
    }

    /**
     * Adds an output.
     *
     * @param name its name
     * @param type the type of one row
     * @return this schema
     */
    public Schema output(String name, String type) {
        outputTexts.add(add(outputs, name, type));
        return this;
    }

    /**
     * Sets the most rows of a batch.
     *
     * @param rows 1 to 65536
     * @return this schema
     */
    public Schema maxBatch(int rows) {
        maxBatch = rows;
        return this;
    }

    /**
     * The most rows of a batch.
     *
     * @return 64 unless it was set
     */
    public int maxBatch() {
        return maxBatch;
    }

    /** As the native library reads it. */
    @Override
    public String toString() {
        return inputTexts + " -> " + outputTexts;
    }

    private static String add(List<Tensor> to, String name, String type) {
        Objects.requireNonNull(name, "the name of a tensor is null");
        Objects.requireNonNull(type, () -> "the type of tensor '" + name + "' is null");
        Tensor tensor = Tensor.parse(name, type);
        if (tensor != null) {
            to.add(tensor);
        }
        return name + ": " + type;
    }
}
