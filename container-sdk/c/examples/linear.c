/* A linear scorer: y = W x, with W of 10 rows of 784 floats in w.f32. */
#include <skysail.h>
#include <stdio.h>
#include <stdlib.h>

enum { IN = 784, OUT = 10 };

static int load(const skysail_ctx *ctx, void *user, void **state) {
    float *w = *state = malloc(IN * OUT * sizeof(float));
    FILE *file = fopen(skysail_path(ctx, "w.f32"), "rb");
    size_t read = file && w ? fread(w, sizeof(float), IN * OUT, file) : 0;
    (void)user;
    if (file) fclose(file);
    return read == IN * OUT ? 0 : skysail_fail("w.f32 cannot be read, or is too short");
}

static int predict(const skysail_ctx *ctx, void *state, const skysail_batch *in, skysail_outputs *out) {
    const float *w = state, *x = skysail_input_data(in, "x", SKYSAIL_F32);
    float *y = skysail_output_data(out, "y", SKYSAIL_F32);
    (void)ctx;
    if (!x || !y) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++)
        for (size_t o = 0; o < OUT; o++)
            for (size_t i = 0; i < IN; i++) y[row * OUT + o] += w[o * IN + i] * x[row * IN + i];
    return 0;
}

int main(int argc, char **argv) {
    skysail_model linear = {.size = sizeof linear, .signature = "x: f32[784] -> y: f32[10]",
                            .load = load, .predict = predict, .unload = free};
    return skysail_run(&linear, argc, argv);
}
