package skysail;

import java.util.List;

/** One named tensor of a schema. */
final class Tensor {
    final String name;
    final String type;
    /** Bytes of an element; 0 for strings. */
    final int width;
    /** Of a row; -1 where rows may differ. */
    final long[] dims;

    private final String text;

    /** Reads a text such as {@code f32[784]}; null if it is not like that, which the SDK tells when it starts. */
    static Tensor parse(String name, String text) {
        int bracket = text.indexOf('[');
        String type = (bracket < 0 ? text : text.substring(0, bracket)).trim();
        long[] dims = {};
        if (bracket >= 0) {
            int end = text.lastIndexOf(']');
            String[] parts = text.substring(bracket + 1, end < bracket ? text.length() : end).split(",");
            dims = new long[parts.length];
            for (int at = 0; at < parts.length; at++) {
                try {
                    dims[at] = Long.parseLong(parts[at].trim());
                } catch (NumberFormatException wrong) {
                    return null;
                }
            }
        }
        int width = width(type);
        return width < 0 ? null : new Tensor(name, type, width, dims, name + ": " + text.trim());
    }

    private Tensor(String name, String type, int width, long[] dims, String text) {
        this.name = name;
        this.type = type;
        this.width = width;
        this.dims = dims;
        this.text = text;
    }

    private static int width(String type) {
        switch (type) {
            case "bool":
            case "u8":
            case "i8":
                return 1;
            case "u16":
            case "i16":
            case "f16":
            case "bf16":
                return 2;
            case "u32":
            case "i32":
            case "f32":
                return 4;
            case "u64":
            case "i64":
            case "f64":
                return 8;
            case "bytes":
            case "string":
                return 0;
            default:
                return -1;
        }
    }

    boolean isText() {
        return width == 0;
    }

    /** Whether rows have their own shape, or are texts: they are pushed one by one. */
    boolean isRowWise() {
        return isText() || elements() < 0;
    }

    /** Elements of a row; -1 if rows may differ. */
    long elements() {
        long product = 1;
        for (long dim : dims) {
            if (dim < 0) {
                return -1;
            }
            product = Math.multiplyExact(product, dim);
        }
        return product;
    }

    /** Checks that the elements are of one of some types. */
    void check(String side, String... types) {
        if (!List.of(types).contains(type)) {
            String asked = String.join(" or ", types);
            throw new SkysailException(side + " '" + name + "' holds " + type + ", asked for " + asked);
        }
    }

    /** The tensor of a name. */
    static int find(String side, List<Tensor> tensors, String name) {
        for (int at = 0; at < tensors.size(); at++) {
            if (tensors.get(at).name.equals(name)) {
                return at;
            }
        }
        StringBuilder known = new StringBuilder();
        for (Tensor tensor : tensors) {
            known.append(known.length() == 0 ? "" : ", ").append(tensor);
        }
        throw new SkysailException("no " + side + " '" + name + "'; the schema has " + known);
    }

    @Override
    public String toString() {
        return text;
    }
}
