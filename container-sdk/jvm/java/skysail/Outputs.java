package skysail;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.function.IntFunction;

/**
 * Where one call of {@link Model#predict} writes its answers, on its thread.
 *
 * <p>An output whose rows are all alike is one buffer of zeros, {@code [rows, ...]}, to write until the call
 * returns; asked for again, it is a new buffer over the same elements. Where rows have their own shape, and
 * for texts, rows are pushed one by one. A row can also fail on its own.
 */
public final class Outputs {
    private final Handle handle;
    private final List<Tensor> outputs;
    private final int rows;
    private final Object[] written;

    Outputs(Handle handle, List<Tensor> outputs, int rows) {
        this.handle = handle;
        this.outputs = outputs;
        this.rows = rows;
        this.written = new Object[outputs.size()];
    }

    /**
     * All elements of an {@code f32} output, to write.
     *
     * @param name the output
     * @return {@code [rows, ...]}, zero at first
     * @throws SkysailException if there is no such output, it holds something else, or its rows differ
     */
    public FloatBuffer f32(String name) {
        return FloatBuffer.wrap((float[]) elements(name, float[]::new, "f32"));
    }

    /**
     * All elements of an {@code f64} output, to write.
     *
     * @param name the output
     * @return {@code [rows, ...]}, zero at first
     * @throws SkysailException if there is no such output, it holds something else, or its rows differ
     */
    public DoubleBuffer f64(String name) {
        return DoubleBuffer.wrap((double[]) elements(name, double[]::new, "f64"));
    }

    /**
     * All elements of an {@code i64} or {@code u64} output, to write.
     *
     * @param name the output
     * @return {@code [rows, ...]}, zero at first
     * @throws SkysailException if there is no such output, it holds something else, or its rows differ
     */
    public LongBuffer i64(String name) {
        return LongBuffer.wrap((long[]) elements(name, long[]::new, "i64", "u64"));
    }

    /**
     * All elements of an {@code i32} or {@code u32} output, to write.
     *
     * @param name the output
     * @return {@code [rows, ...]}, zero at first
     * @throws SkysailException if there is no such output, it holds something else, or its rows differ
     */
    public IntBuffer i32(String name) {
        return IntBuffer.wrap((int[]) elements(name, int[]::new, "i32", "u32"));
    }

    /**
     * All elements of an {@code i16} or {@code u16} output, or the bits of an {@code f16} or {@code bf16} one,
     * to write.
     *
     * @param name the output
     * @return {@code [rows, ...]}, zero at first
     * @throws SkysailException if there is no such output, it holds something else, or its rows differ
     */
    public ShortBuffer i16(String name) {
        Object found = elements(name, short[]::new, "i16", "u16", "f16", "bf16");
        return ShortBuffer.wrap((short[]) found);
    }

    /**
     * All elements of an {@code i8}, {@code u8} or {@code bool} output, to write; a boolean is 0 or 1.
     *
     * @param name the output
     * @return {@code [rows, ...]}, zero at first
     * @throws SkysailException if there is no such output, it holds something else, or its rows differ
     */
    public ByteBuffer i8(String name) {
        return ByteBuffer.wrap((byte[]) elements(name, byte[]::new, "i8", "u8", "bool"));
    }

    /**
     * Answers the next row of a {@code string} or {@code bytes} output of one string a row. A row that has
     * failed takes none.
     *
     * @param name the output
     * @param text the string
     * @throws SkysailException if there is no such output, or it holds something else
     */
    public void push(String name, String text) {
        Objects.requireNonNull(text, () -> "a row of output '" + name + "' is null");
        push(name, text.getBytes(StandardCharsets.UTF_8));
    }

    /**
     * Answers the next row of a {@code string} or {@code bytes} output of one string a row. A row that has
     * failed takes none.
     *
     * @param name the output
     * @param text the string's bytes
     * @throws SkysailException if there is no such output, or it holds something else
     */
    public void push(String name, byte[] text) {
        Objects.requireNonNull(text, () -> "a row of output '" + name + "' is null");
        int index = pushed(name, "string", "bytes");
        Native.push(handle.get(), index, text, 1, new long[0], null);
    }

    /**
     * Answers the next row of a {@code string} or {@code bytes} output of several strings a row. A row that
     * has failed takes none.
     *
     * @param name the output
     * @param texts the strings, the last dimension changing fastest
     * @param dims the row's dimensions; if none are given, it has one
     * @throws SkysailException if there is no such output, or the row does not fit it
     */
    public void push(String name, Collection<String> texts, long... dims) {
        Objects.requireNonNull(texts, () -> "a row of output '" + name + "' is null");
        pushBytes(name, texts.stream().map(text -> utf8(name, text)).toList(), dims);
    }

    /**
     * As {@link #push(String, Collection, long...)}, of any bytes where the output holds bytes.
     *
     * @param name the output
     * @param pieces the byte strings of the row, the last dimension changing fastest
     * @param dims the row's dimensions; left out where it has one
     */
    public void pushBytes(String name, Collection<byte[]> pieces, long... dims) {
        Objects.requireNonNull(pieces, () -> "a row of output '" + name + "' is null");
        int index = pushed(name, "string", "bytes");
        ByteArrayOutputStream data = new ByteArrayOutputStream();
        long[] ends = new long[pieces.size() + 1];
        int at = 0;
        for (byte[] piece : pieces) {
            data.writeBytes(Objects.requireNonNull(piece, () -> "a text of output '" + name + "' is null"));
            ends[++at] = data.size();
        }
        long[] shape = dims.length > 0 ? dims : new long[] {pieces.size()};
        checkCount(name, shape, pieces.size());
        Native.push(handle.get(), index, data.toByteArray(), 1, shape, ends);
    }

    private static byte[] utf8(String name, String text) {
        return Objects.requireNonNull(text, () -> "a text of output '" + name + "' is null")
                .getBytes(StandardCharsets.UTF_8);
    }

    /**
     * Answers the next row of an output with variable dimensions. A row that has failed takes none.
     *
     * @param name the output
     * @param elements an array of the primitive type that a buffer of the output would have: {@code float[]}
     *     for {@code f32}, {@code byte[]} for {@code u8}
     * @param dims the row's dimensions; where one varies they may be left out
     * @throws SkysailException if there is no such output, or the row does not fit it
     */
    public void pushRow(String name, Object elements, long... dims) {
        Objects.requireNonNull(elements, () -> "a row of output '" + name + "' is null");
        int index = Tensor.find("output", outputs, name);
        Tensor tensor = outputs.get(index);
        if (tensor.isText()) {
            throw new SkysailException("output '" + name + "' holds " + tensor.type + ": push its texts");
        }
        Class<?> expected = array(tensor);
        if (elements.getClass() != expected) {
            throw new SkysailException("output '" + name + "' holds " + tensor.type + ", which is pushed as "
                    + expected.getSimpleName() + ", not " + elements.getClass().getSimpleName());
        }
        int count = java.lang.reflect.Array.getLength(elements);
        long[] shape = dims.length > 0 ? dims : only(tensor, count);
        checkCount(name, shape, count);
        Native.push(handle.get(), index, elements, tensor.width, shape, null);
    }

    /**
     * Fails one row with a message for whoever asked; the other rows stand. What is written for the row is not
     * used.
     *
     * @param row the row, from 0
     * @param message why
     * @throws SkysailException if there is no such row
     */
    public void failRow(int row, String message) {
        Native.failRow(handle.get(), row, Native.bytes(String.valueOf(message)));
    }

    /** Hands over what was written. */
    void finish() {
        long address = handle.get();
        for (int index = 0; index < written.length; index++) {
            if (written[index] != null) {
                Native.set(address, index, written[index], outputs.get(index).width);
            }
        }
    }

    private Object elements(String name, IntFunction<Object> make, String... types) {
        handle.get();
        int index = Tensor.find("output", outputs, name);
        Tensor tensor = outputs.get(index);
        tensor.check("output", types);
        if (tensor.isRowWise()) {
            throw new SkysailException("output '" + name + "' has rows of their own shape; push them one by one");
        }
        if (written[index] == null) {
            long count = Math.multiplyExact(tensor.elements(), (long) rows);
            written[index] = make.apply(Math.toIntExact(count));
        }
        return written[index];
    }

    private int pushed(String name, String... types) {
        handle.get();
        int index = Tensor.find("output", outputs, name);
        outputs.get(index).check("output", types);
        return index;
    }

    private static Class<?> array(Tensor tensor) {
        switch (tensor.type) {
            case "f32":
                return float[].class;
            case "f64":
                return double[].class;
            default:
                return switch (tensor.width) {
                    case 1 -> byte[].class;
                    case 2 -> short[].class;
                    case 4 -> int[].class;
                    default -> long[].class;
                };
        }
    }

    /** The dimensions of a row of which only one is not known. */
    private static long[] only(Tensor tensor, int count) {
        long[] shape = tensor.dims.clone();
        long known = 1;
        int place = -1;
        for (int at = 0; at < shape.length; at++) {
            if (shape[at] >= 0) {
                known *= shape[at];
            } else if (place < 0) {
                place = at;
            } else {
                throw new SkysailException("output " + tensor + " has several variable dimensions: name them");
            }
        }
        if (place >= 0) {
            shape[place] = count / Math.max(1, known);
        }
        return shape;
    }

    private static void checkCount(String name, long[] dims, int count) {
        long product = 1;
        for (long dim : dims) {
            if (dim < 0 || (product *= dim) > Integer.MAX_VALUE) {
                product = -1;
                break;
            }
        }
        if (product != count) {
            String shape = java.util.Arrays.toString(dims);
            throw new SkysailException("a row of output '" + name + "' has " + count + " elements, which are not "
                    + shape);
        }
    }
}
