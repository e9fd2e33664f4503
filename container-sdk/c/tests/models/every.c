/* Gives back what it takes: every element type, and every kind of row. */
#include <skysail.h>
#include <stdio.h>
#include <string.h>

#define TYPES                                                                                        \
    "t_bool: bool[2], t_u8: u8[2], t_u16: u16[2], t_u32: u32[2], t_u64: u64[2], t_i8: i8[2], "        \
    "t_i16: i16[2], t_i32: i32[2], t_i64: i64[2], t_f16: f16[2], t_f32: f32[2], t_f64: f64[2], "      \
    "scalar: f32, matrix: i32[2,3], ragged: f32[-1], wide: i64[-1,2], image: u8[-1,-1,3], "           \
    "text: string, blob: bytes, pair: string[2], tags: bytes[-1], grid: string[-1,-1]"

static int is_row_wise(const skysail_tensor *tensor) {
    if (tensor->dtype >= SKYSAIL_BYTES) return 1;
    for (uint32_t dim = 1; dim < tensor->rank; dim++)
        if (tensor->dims[dim] < 0) return 1;
    return 0;
}

static int predict(const skysail_ctx *ctx, void *state, const skysail_batch *in, skysail_outputs *out) {
    const skysail_tensor *input;
    (void)ctx, (void)state;
    for (size_t index = 0; (input = skysail_input_at(in, index)); index++) {
        const skysail_tensor *output = skysail_output_at(out, index);
        if (!output || strcmp(input->name, output->name) != 0) return skysail_fail("out of order");
        if (!is_row_wise(input)) {
            if (skysail_set(out, input) != 0) return SKYSAIL_FAILED;
            continue;
        }
        for (size_t row = 0; row < skysail_rows(in); row++) {
            const skysail_tensor *one = skysail_input_row(in, input->name, row);
            if (!one || skysail_push(out, one) != 0) return SKYSAIL_FAILED;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    skysail_model every = {.size = sizeof every, .signature = TYPES " -> " TYPES, .predict = predict};
    return skysail_run(&every, argc, argv);
}
