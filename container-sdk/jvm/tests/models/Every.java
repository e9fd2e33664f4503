import java.nio.Buffer;
import java.util.List;
import skysail.Batch;
import skysail.Ctx;
import skysail.Model;
import skysail.Outputs;
import skysail.Schema;
import skysail.Skysail;

/** Gives back what it takes: every element type, and every kind of row. */
public class Every implements Model {
    private static final String[][] TENSORS = {
        {"t_bool", "bool[2]"}, {"t_u8", "u8[2]"}, {"t_u16", "u16[2]"}, {"t_u32", "u32[2]"}, {"t_u64", "u64[2]"},
        {"t_i8", "i8[2]"}, {"t_i16", "i16[2]"}, {"t_i32", "i32[2]"}, {"t_i64", "i64[2]"}, {"t_f16", "f16[2]"},
        {"t_f32", "f32[2]"}, {"t_f64", "f64[2]"}, {"scalar", "f32"}, {"matrix", "i32[2,3]"},
        {"ragged", "f32[-1]"}, {"wide", "i64[-1,2]"}, {"image", "u8[-1,-1,3]"}, {"text", "string"},
        {"blob", "bytes"}, {"pair", "string[2]"}, {"tags", "bytes[-1]"}, {"grid", "string[-1,-1]"},
    };

    @Override
    public Schema schema() {
        Schema schema = new Schema();
        for (String[] tensor : TENSORS) {
            schema.input(tensor[0], tensor[1]).output(tensor[0], tensor[1]);
        }
        return schema;
    }

    @Override
    public void predict(Batch in, Outputs out, Ctx ctx) {
        for (String width : new String[] {"t_bool", "t_u8", "t_i8"}) {
            out.i8(width).put(in.i8(width));
        }
        for (String width : new String[] {"t_u16", "t_i16", "t_f16"}) {
            out.i16(width).put(in.i16(width));
        }
        for (String width : new String[] {"t_u32", "t_i32", "matrix"}) {
            out.i32(width).put(in.i32(width));
        }
        for (String width : new String[] {"t_u64", "t_i64"}) {
            out.i64(width).put(in.i64(width));
        }
        out.f32("t_f32").put(in.f32("t_f32"));
        out.f32("scalar").put(in.f32("scalar"));
        out.f64("t_f64").put(in.f64("t_f64"));
        List<String> texts = in.strings("text");
        List<byte[]> blobs = in.bytes("blob");
        for (int row = 0; row < in.rows(); row++) {
            float[] ragged = new float[remaining(in.row("ragged", row, in.f32("ragged")))];
            in.row("ragged", row, in.f32("ragged")).get(ragged);
            out.pushRow("ragged", ragged);
            long[] wide = new long[remaining(in.row("wide", row, in.i64("wide")))];
            in.row("wide", row, in.i64("wide")).get(wide);
            out.pushRow("wide", wide);
            byte[] image = new byte[remaining(in.row("image", row, in.i8("image")))];
            in.row("image", row, in.i8("image")).get(image);
            out.pushRow("image", image, in.dims("image", row));
            out.push("text", texts.get(row));
            out.push("blob", blobs.get(row));
            out.push("pair", in.strings("pair", row));
            out.pushBytes("tags", in.bytes("tags", row));
            out.push("grid", in.strings("grid", row), in.dims("grid", row));
        }
    }

    private static int remaining(Buffer buffer) {
        return buffer.remaining();
    }

    public static void main(String[] arguments) {
        Skysail.run(new Every(), arguments);
    }
}
