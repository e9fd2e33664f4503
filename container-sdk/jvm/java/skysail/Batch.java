package skysail;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.nio.charset.StandardCharsets;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.List;
import java.util.RandomAccess;

/**
 * The rows that one call of {@link Model#predict} answers: dense, typed views of its inputs.
 *
 * <p>It is used in that call, on its thread. The buffers are read-only; each call gives a new one, from the
 * first element to the last. Large ones are where the rows were received, small ones are copies. They are to be
 * read until {@code predict} returns, by any thread; a buffer that is kept is empty from then on, and what was
 * made of it reads as zeros or as before. To keep elements, {@code get} them into an array.
 */
public final class Batch {
    private final Handle handle;
    private final List<Tensor> inputs;
    private final int rows;
    private final Stages stages;
    /** Of each input what it is shown by: a primitive array, or a buffer on a stage. */
    private final Object[] elements;
    private final List<Buffer> given = new ArrayList<>();

    Batch(Handle handle, Stages stages, List<Tensor> inputs, int rows) {
        this.handle = handle;
        this.stages = stages;
        this.inputs = inputs;
        this.rows = rows;
        this.elements = new Object[inputs.size()];
    }

    /**
     * Rows in the batch.
     *
     * @return at least 1
     */
    public int rows() {
        return rows;
    }

    /**
     * All elements of an {@code f32} input, row after row.
     *
     * @param name the input
     * @return {@code [rows, ...]}
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public FloatBuffer f32(String name) {
        Object found = elements(name, "f32");
        return given(found instanceof ByteBuffer shown ? shown.asFloatBuffer()
                : FloatBuffer.wrap((float[]) found).asReadOnlyBuffer());
    }

    /**
     * All elements of an {@code f64} input, row after row.
     *
     * @param name the input
     * @return {@code [rows, ...]}
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public DoubleBuffer f64(String name) {
        Object found = elements(name, "f64");
        return given(found instanceof ByteBuffer shown ? shown.asDoubleBuffer()
                : DoubleBuffer.wrap((double[]) found).asReadOnlyBuffer());
    }

    /**
     * All elements of an {@code i64} or {@code u64} input, row after row.
     *
     * @param name the input
     * @return {@code [rows, ...]}
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public LongBuffer i64(String name) {
        Object found = elements(name, "i64", "u64");
        return given(found instanceof ByteBuffer shown ? shown.asLongBuffer()
                : LongBuffer.wrap((long[]) found).asReadOnlyBuffer());
    }

    /**
     * All elements of an {@code i32} or {@code u32} input, row after row.
     *
     * @param name the input
     * @return {@code [rows, ...]}
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public IntBuffer i32(String name) {
        Object found = elements(name, "i32", "u32");
        return given(found instanceof ByteBuffer shown ? shown.asIntBuffer()
                : IntBuffer.wrap((int[]) found).asReadOnlyBuffer());
    }

    /**
     * All elements of an {@code i16} or {@code u16} input, or the bits of an {@code f16} or {@code bf16} one,
     * row after row.
     *
     * @param name the input
     * @return {@code [rows, ...]}
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public ShortBuffer i16(String name) {
        Object found = elements(name, "i16", "u16", "f16", "bf16");
        return given(found instanceof ByteBuffer shown ? shown.asShortBuffer()
                : ShortBuffer.wrap((short[]) found).asReadOnlyBuffer());
    }

    /**
     * All elements of an {@code i8}, {@code u8} or {@code bool} input, row after row.
     *
     * @param name the input
     * @return {@code [rows, ...]}, where a boolean is 0 or 1
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public ByteBuffer i8(String name) {
        Object found = elements(name, "i8", "u8", "bool");
        return given(found instanceof ByteBuffer shown ? shown.duplicate()
                : ByteBuffer.wrap((byte[]) found).asReadOnlyBuffer());
    }

    /**
     * The texts of a {@code string} input that has one a row.
     *
     * @param name the input
     * @return a text a row
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public List<String> strings(String name) {
        return new Rows<>(scalar(name, "string"), row -> strings(name, row).get(0));
    }

    /**
     * The byte strings of a {@code bytes} or {@code string} input that has one a row.
     *
     * @param name the input
     * @return a byte string a row
     * @throws SkysailException if there is no such input, or it holds something else
     */
    public List<byte[]> bytes(String name) {
        return new Rows<>(scalar(name, "bytes", "string"), row -> bytes(name, row).get(0));
    }

    /**
     * The texts of a row of a {@code string} input.
     *
     * @param name the input
     * @param row the row, from 0
     * @return its texts, the last dimension changing fastest
     * @throws SkysailException if there is no such input or row, or it holds something else
     */
    public List<String> strings(String name, int row) {
        Pieces pieces = pieces(name, row, "string");
        return new Rows<>(
                pieces.count(),
                at -> {
                    int from = pieces.at(at);
                    return new String(pieces.data, from, pieces.at(at + 1) - from, StandardCharsets.UTF_8);
                });
    }

    /**
     * The byte strings of a row of a {@code bytes} or {@code string} input.
     *
     * @param name the input
     * @param row the row, from 0
     * @return its byte strings, the last dimension changing fastest
     * @throws SkysailException if there is no such input or row, or it holds something else
     */
    public List<byte[]> bytes(String name, int row) {
        Pieces pieces = pieces(name, row, "bytes", "string");
        return new Rows<>(
                pieces.count(),
                at -> java.util.Arrays.copyOfRange(pieces.data, pieces.at(at), pieces.at(at + 1)));
    }

    /**
     * The dimensions of a row, which an input with variable dimensions has for itself.
     *
     * @param name the input
     * @param row the row, from 0
     * @return the sizes, without one for the rows
     * @throws SkysailException if there is no such input or row
     */
    public long[] dims(String name, int row) {
        long[] place = place(name, row);
        return java.util.Arrays.copyOfRange(place, 2, place.length);
    }

    /**
     * The elements of one row, by the buffer of all: {@code in.row("x", 3, in.f32("x"))}.
     *
     * @param <B> the buffer's type
     * @param name the input
     * @param row the row, from 0
     * @param all what one of the methods above gave for this input
     * @return {@code all}, from the row's first element to its last
     * @throws SkysailException if there is no such input or row, or it holds texts
     */
    public <B extends Buffer> B row(String name, int row, B all) {
        Tensor tensor = inputs.get(Tensor.find("input", inputs, name));
        if (tensor.isText()) {
            throw new SkysailException("input '" + name + "' holds " + tensor.type + ": ask for its strings");
        }
        long[] place = place(name, row);
        int from = Math.toIntExact(place[0] / tensor.width);
        all.limit(from + Math.toIntExact(place[1] / tensor.width)).position(from);
        return all;
    }

    private Object elements(String name, String... types) {
        long address = handle.get();
        int index = Tensor.find("input", inputs, name);
        inputs.get(index).check("input", types);
        if (elements[index] == null) {
            Tensor tensor = inputs.get(index);
            long bytes = tensor.isRowWise() ? 0 : rows * tensor.elements() * tensor.width;
            ByteBuffer shown = stages.show(address, index, bytes);
            elements[index] = shown != null ? shown : Native.elements(address, index);
        }
        return elements[index];
    }

    private <B extends Buffer> B given(B buffer) {
        given.add(buffer);
        return buffer;
    }

    /** Ends what was given. */
    void end() {
        handle.end();
        given.forEach(buffer -> buffer.limit(0));
    }

    private int scalar(String name, String... types) {
        elements(name, types);
        if (inputs.get(Tensor.find("input", inputs, name)).dims.length > 0) {
            throw new SkysailException("input '" + name + "' has several strings a row: ask for them by row");
        }
        return rows;
    }

    private long[] place(String name, int row) {
        long address = handle.get();
        int index = Tensor.find("input", inputs, name);
        return Native.row(address, index, checked(row));
    }

    private Pieces pieces(String name, int row, String... types) {
        byte[] data = (byte[]) elements(name, types);
        int index = Tensor.find("input", inputs, name);
        return new Pieces(data, Native.strings(handle.get(), index, checked(row)));
    }

    private int checked(int row) {
        if (row < 0 || row >= rows) {
            throw new SkysailException("no row " + row + ": the batch has " + rows);
        }
        return row;
    }

    /** Strings, end to end. */
    private static final class Pieces {
        private final byte[] data;
        private final long[] ends;

        Pieces(byte[] data, long[] ends) {
            this.data = data;
            this.ends = ends;
        }

        int count() {
            return ends.length - 1;
        }

        int at(int index) {
            return Math.toIntExact(ends[index]);
        }
    }

    /** Values made when they are asked for. */
    private static final class Rows<T> extends AbstractList<T> implements RandomAccess {
        private final int size;
        private final java.util.function.IntFunction<T> at;

        Rows(int size, java.util.function.IntFunction<T> at) {
            this.size = size;
            this.at = at;
        }

        @Override
        public T get(int index) {
            return at.apply(java.util.Objects.checkIndex(index, size));
        }

        @Override
        public int size() {
            return size;
        }
    }
}
