/* The models of container-sdk/conformance/README.md: the one that --model names. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "echo.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define IN(name, dtype) skysail_input_data(in, name, dtype)
#define OUT(name, dtype) skysail_output_data(out, name, dtype)
#define PREDICT(name)                                                                                \
    static int name(const skysail_ctx *ctx, void *state, const skysail_batch *in, skysail_outputs *out)

static void sleep_ms(uint32_t ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0) {}
}

PREDICT(sum) {
    const skysail_tensor *x = skysail_input(in, "x");
    double *sum = OUT("sum", SKYSAIL_F64);
    (void)ctx, (void)state;
    if (!x || !sum) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++)
        for (uint64_t at = x->offsets[row]; at < x->offsets[row + 1]; at++)
            sum[row] += ((const double *)x->data)[at];
    return 0;
}

PREDICT(fixed) {
    const float *x = IN("x", SKYSAIL_F32);
    float *y = OUT("y", SKYSAIL_F32);
    int64_t *top = OUT("top", SKYSAIL_I64);
    (void)ctx, (void)state;
    if (!x || !y || !top) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++, x += 3) {
        y[2 * row] = x[0] + x[1];
        y[2 * row + 1] = 2 * x[2];
        for (int at = 1; at < 3; at++)
            if (x[at] > x[top[row]]) top[row] = at;
    }
    return 0;
}

/* The first string of a row in upper case: a to z only. */
static int push_upper(skysail_outputs *out, const skysail_tensor *row) {
    char *upper = malloc(row->bytes + 1);
    if (!upper) return skysail_fail("no memory");
    for (size_t at = 0; at < row->bytes; at++) {
        char byte = ((const char *)row->data)[at];
        upper[at] = byte >= 'a' && byte <= 'z' ? byte - 'a' + 'A' : byte;
    }
    int status = skysail_push_text(out, "upper", upper, row->bytes);
    free(upper);
    return status;
}

/* The strings of a row in reverse order. */
static int push_back(skysail_outputs *out, const skysail_tensor *row) {
    size_t count = row->dims[0];
    char *data = malloc(row->bytes + 1);
    uint64_t *ends = calloc(count + 1, sizeof *ends);
    int status = SKYSAIL_FAILED;
    if (!data || !ends) {
        skysail_fail("no memory");
    } else {
        for (size_t at = 0; at < count; at++) {
            const uint64_t *from = row->offsets + count - 1 - at;
            ends[at + 1] = ends[at] + from[1] - from[0];
            memcpy(data + ends[at], (const char *)row->data + (from[0] - row->offsets[0]), from[1] - from[0]);
        }
        skysail_tensor back = {.name = "back", .dtype = SKYSAIL_BYTES, .rank = 1, .dims = row->dims,
                               .data = data, .bytes = row->bytes, .offsets = ends};
        status = skysail_push(out, &back);
    }
    free(data);
    free(ends);
    return status;
}

PREDICT(texts) {
    (void)ctx, (void)state;
    for (size_t row = 0; row < skysail_rows(in); row++) {
        const skysail_tensor *text = skysail_input_row(in, "s", row);
        if (!text || push_upper(out, text) != 0) return SKYSAIL_FAILED;
        const skysail_tensor *tags = skysail_input_row(in, "tags", row);
        if (!tags || push_back(out, tags) != 0) return SKYSAIL_FAILED;
    }
    return 0;
}

static int push_transposed(skysail_outputs *out, const skysail_tensor *row) {
    const int32_t *from = row->data;
    int64_t dims[] = {row->dims[1], row->dims[0]};
    int32_t *to = malloc(row->bytes + 1);
    if (!to) return skysail_fail("no memory");
    for (int64_t i = 0; i < dims[0]; i++)
        for (int64_t j = 0; j < dims[1]; j++) to[i * dims[1] + j] = from[j * dims[0] + i];
    skysail_tensor tensor = {.name = "m", .dtype = SKYSAIL_I32, .rank = 2, .dims = dims, .data = to,
                             .bytes = row->bytes};
    int status = skysail_push(out, &tensor);
    free(to);
    return status;
}

PREDICT(shapes) {
    (void)ctx, (void)state;
    for (size_t row = 0; row < skysail_rows(in); row++) {
        const skysail_tensor *m = skysail_input_row(in, "m", row);
        if (!m || push_transposed(out, m) != 0) return SKYSAIL_FAILED;
    }
    return 0;
}

PREDICT(picky) {
    const int64_t *x = IN("x", SKYSAIL_I64);
    int64_t *y = OUT("y", SKYSAIL_I64);
    (void)ctx, (void)state;
    if (!x || !y) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++)
        if (x[row] == 13) return skysail_fail("13 is unlucky");
    for (size_t row = 0; row < skysail_rows(in); row++) {
        if (x[row] >= 0) y[row] = 2 * x[row];
        else if (skysail_fail_row(out, row, "x is negative") != 0) return SKYSAIL_FAILED;
    }
    return 0;
}

PREDICT(slow) {
    const uint32_t *ms = IN("ms", SKYSAIL_U32);
    uint32_t *y = OUT("y", SKYSAIL_U32), most = 0;
    (void)ctx, (void)state;
    if (!ms || !y) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++) {
        y[row] = ms[row];
        if (ms[row] > most) most = ms[row];
    }
    sleep_ms(most);
    return 0;
}

PREDICT(inputs) {
    const float *a = IN("a", SKYSAIL_F32);
    const int64_t *b = IN("b", SKYSAIL_I64);
    double *total = OUT("total", SKYSAIL_F64);
    (void)ctx, (void)state;
    if (!a || !b || !total) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++) {
        const skysail_tensor *c = skysail_input_row(in, "c", row);
        char *label = c ? malloc(c->bytes + 32) : NULL;
        if (!label) return SKYSAIL_FAILED;
        memcpy(label, c->data, c->bytes);
        size_t bytes = c->bytes + (size_t)sprintf(label + c->bytes, ":%lld", (long long)b[row]);
        int status = skysail_push_text(out, "label", label, bytes);
        free(label);
        if (status != 0) return status;
        total[row] = (double)a[2 * row] + (double)a[2 * row + 1] + (double)b[row];
    }
    return 0;
}

/* What is wrong with y: rows of three floats, or doubles. */
static int set_wrong(skysail_outputs *out, size_t rows, int64_t how) {
    int64_t dims[] = {(int64_t)rows, how == 5 ? 3 : 2};
    size_t bytes = rows * (how == 5 ? 3 * sizeof(float) : 2 * sizeof(double));
    void *zeros = calloc(1, bytes);
    if (!zeros) return skysail_fail("no memory");
    skysail_tensor y = {.name = "y", .dtype = how == 5 ? SKYSAIL_F32 : SKYSAIL_F64, .rank = 2, .dims = dims,
                        .data = zeros, .bytes = bytes};
    int status = skysail_set(out, &y);
    free(zeros);
    return status;
}

PREDICT(wrong) {
    const int64_t *how = IN("how", SKYSAIL_I64);
    size_t rows = skysail_rows(in), texts = rows;
    int64_t asked = 0;
    (void)ctx, (void)state;
    if (!how) return SKYSAIL_FAILED;
    for (size_t row = rows; row-- > 0;)
        if (how[row] != 0) asked = how[row];
    switch (asked) {
    case 0: break;
    case 3: texts++; break;
    case 4: texts--; break;
    case 5:
    case 6:
        if (set_wrong(out, rows, asked) != 0) return SKYSAIL_FAILED;
        break;
    case 7: texts = 0; break;
    default: return skysail_fail("as asked");
    }
    for (size_t row = 0; row < texts; row++)
        if (skysail_push_text(out, "s", "", 0) != 0) return SKYSAIL_FAILED;
    return 0;
}

/* y = factor x, with a state that is NULL for 1. */
PREDICT(scaled) {
    const float *x = IN("x", SKYSAIL_F32), *factor = state;
    float *y = OUT("y", SKYSAIL_F32);
    (void)ctx;
    if (!x || !y) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++) y[row] = factor ? *factor * x[row] : x[row];
    return 0;
}

static int slow_load(const skysail_ctx *ctx, void *user, void **state) {
    (void)ctx, (void)user, (void)state;
    sleep_ms(1500);
    return 0;
}

static int crash_load(const skysail_ctx *ctx, void *user, void **state) {
    (void)ctx, (void)user, (void)state;
    return skysail_fail("no weights here");
}

static int files_load(const skysail_ctx *ctx, void *user, void **state) {
    FILE *file = fopen(skysail_path(ctx, "factor.txt"), "r");
    float *factor = *state = malloc(sizeof *factor);
    int read = file && factor ? fscanf(file, "%f", factor) : 0;
    (void)user;
    if (file) fclose(file);
    if (read == 1) return 0;
    free(factor);
    return skysail_fail("factor.txt has no number");
}

#define TYPES                                                                                        \
    "t_bool: bool[2], t_u8: u8[2], t_u16: u16[2], t_u32: u32[2], t_u64: u64[2], t_i8: i8[2], "        \
    "t_i16: i16[2], t_i32: i32[2], t_i64: i64[2], t_f16: f16[2], t_bf16: bf16[2], t_f32: f32[2], "    \
    "t_f64: f64[2], t_bytes: bytes[2], t_string: string[2]"

static const struct {
    const char *name;
    skysail_model model;
} MODELS[] = {
    {"sum", {.signature = "x: f64[-1] -> sum: f64", .predict = sum}},
    {"golden-fixed", {.signature = "x: f32[3] -> y: f32[2], top: i64", .predict = fixed}},
    {"golden-texts", {.signature = "s: string, tags: bytes[-1] -> upper: string, back: bytes[-1]", .predict = texts}},
    {"golden-types", {.signature = TYPES " -> " TYPES, .predict = echo}},
    {"golden-shapes", {.signature = "m: i32[-1,-1] -> m: i32[-1,-1]", .predict = shapes}},
    {"golden-picky", {.signature = "x: i64 -> y: i64", .predict = picky}},
    {"golden-slow", {.signature = "ms: u32 -> y: u32", .predict = slow}},
    {"suite-inputs", {.signature = "a: f32[2], b: i64, c: string -> total: f64, label: string", .predict = inputs}},
    {"suite-wrong", {.signature = "how: i64 -> y: f32[2], s: string", .predict = wrong}},
    {"suite-slow-load", {.signature = "x: f32 -> y: f32", .load = slow_load, .predict = scaled}},
    {"suite-crash-load", {.signature = "x: f32 -> y: f32", .load = crash_load, .predict = scaled}},
    {"suite-files", {.signature = "x: f32 -> y: f32", .load = files_load, .predict = scaled, .unload = free}},
};

int main(int argc, char **argv) {
    const char *name = "";
    for (int at = 1; at + 1 < argc; at++)
        if (strcmp(argv[at], "--model") == 0) name = argv[at + 1];
    for (size_t at = 0; at < sizeof MODELS / sizeof *MODELS; at++) {
        if (strcmp(MODELS[at].name, name) != 0) continue;
        skysail_model model = MODELS[at].model;
        model.size = sizeof model;
        return skysail_run(&model, argc, argv);
    }
    fprintf(stderr, "the suite has no model %s\n", name);
    return 2;
}
