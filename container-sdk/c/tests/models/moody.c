/* Does what a text says, well or not. VARIANT in the environment chooses a model that is wrong. */
#include <pthread.h>
#include <skysail.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kept { const skysail_batch *in; skysail_outputs *out; const void *data; };

static int load(const skysail_ctx *ctx, void *user, void **state) {
    const char *variant = user;
    if (strcmp(variant, "broken") == 0) return skysail_fail("no weights");
    if (strcmp(variant, "old") == 0) return skysail_unfit("weights.bin is of version 1: train it again");
    if (strcmp(variant, "silent") == 0) return 7;
    if (!skysail_path(ctx, "w") || !skysail_path(ctx, NULL) || skysail_path(NULL, "w")) return SKYSAIL_FAILED;
    *state = calloc(1, sizeof(struct kept));
    return *state ? 0 : SKYSAIL_FAILED;
}

/* What another thread is refused, of the batch and outputs in kept. */
static void *elsewhere(void *handles) {
    static const char *const only = "on the thread only that predict was called on";
    struct kept *kept = handles;
    int row = !skysail_input_row(kept->in, "say", 0) && strstr(skysail_last_error(), only);
    int data = !skysail_output_data(kept->out, "n", SKYSAIL_I32) && strstr(skysail_last_error(), only);
    int push = skysail_push_text(kept->out, "said", "", 0) != 0 && strstr(skysail_last_error(), only);
    return row && data && push ? handles : NULL;
}

/* Each of these is an error with a message, and nothing worse. */
static int misuse(const skysail_ctx *ctx, struct kept *kept, const skysail_batch *in, skysail_outputs *out) {
    static const char *const expected[] = {
        "batch is NULL", "name is NULL", "no input 'z'; the signature has say: string",
        "input 'say' holds string, asked for f32", "99 is no dtype: they are 0 to 14",
        "no row 1: the batch has 1", "no input number 1: there are 1",
        "out is NULL", "output 'n' holds i32, asked for f32",
        "output 'said' has rows of their own shape; push them one by one",
        "row is NULL", "the tensor's name is NULL", "a row of [2] does not fit the output said: string",
        "the tensor's data is NULL", "output 'n' was given [1, 2], [1] expected",
        "output 'n' was given 8 bytes, 4 expected", "no row 9: the batch has 1", "tensor is NULL",
        "name is not UTF-8",
    };
    const int64_t two[] = {1, 2}, one[] = {1};
    const int32_t numbers[] = {1, 2};
    const skysail_tensor row = {.name = "said", .dtype = SKYSAIL_STRING, .rank = 1, .dims = two + 1};
    const skysail_tensor none = {.name = "said", .dtype = SKYSAIL_STRING, .bytes = 4};
    const skysail_tensor shape = {.name = "n", .dtype = SKYSAIL_I32, .rank = 2, .dims = two};
    const skysail_tensor more = {.name = "n", .dtype = SKYSAIL_I32, .rank = 1, .dims = one, .data = numbers, .bytes = 8};
    const skysail_tensor nameless = {.dtype = SKYSAIL_I32};
    skysail_stage *stage = skysail_stage_new(1 << 20);
    (void)ctx, (void)kept;
    if (!stage || !skysail_stage_base(stage) || skysail_stage_show(stage, in, 9) != SIZE_MAX ||
        skysail_stage_show(NULL, in, 0) != SIZE_MAX || skysail_stage_clear(stage) != 0 ||
        skysail_stage_clear(NULL) == 0 || skysail_stage_new(SIZE_MAX))
        return skysail_fail("the stage");
    skysail_stage_free(stage);
    skysail_stage_free(NULL);
    struct kept handles = {in, out, NULL};
    pthread_t other;
    void *refused = NULL;
    if (pthread_create(&other, NULL, elsewhere, &handles) != 0 || pthread_join(other, &refused) != 0 || !refused)
        return skysail_fail("another thread");
    for (size_t step = 0; step < sizeof expected / sizeof *expected; step++) {
        int failed = 0;
        switch (step) {
        case 0: failed = skysail_rows(NULL) == 0; break;
        case 1: failed = !skysail_input(in, NULL); break;
        case 2: failed = !skysail_input(in, "z"); break;
        case 3: failed = !skysail_input_data(in, "say", SKYSAIL_F32); break;
        case 4: failed = !skysail_input_data(in, "say", 99); break;
        case 5: failed = !skysail_input_row(in, "say", 1); break;
        case 6: failed = !skysail_input_at(in, 1); break;
        case 7: failed = !skysail_output_data(NULL, "n", SKYSAIL_I32); break;
        case 8: failed = !skysail_output_data(out, "n", SKYSAIL_F32); break;
        case 9: failed = !skysail_output_data(out, "said", SKYSAIL_STRING); break;
        case 10: failed = skysail_push(out, NULL) != 0; break;
        case 11: failed = skysail_push(out, &nameless) != 0; break;
        case 12: failed = skysail_push(out, &row) != 0; break;
        case 13: failed = skysail_push(out, &none) != 0; break;
        case 14: failed = skysail_set(out, &shape) != 0; break;
        case 15: failed = skysail_set(out, &more) != 0; break;
        case 16: failed = skysail_fail_row(out, 9, "none") != 0; break;
        case 17: failed = skysail_set(out, NULL) != 0; break;
        case 18: failed = !skysail_input(in, "\xff"); break;
        }
        if (!failed || strcmp(skysail_last_error(), expected[step]) != 0) {
            char told[300];
            snprintf(told, sizeof told, "step %zu: '%s', not '%s'", step, skysail_last_error(), expected[step]);
            return skysail_fail(told);
        }
    }
    return 0;
}

static int predict(const skysail_ctx *ctx, void *state, const skysail_batch *in, skysail_outputs *out) {
    struct kept *kept = state;
    int32_t *n = skysail_output_data(out, "n", SKYSAIL_I32);
    if (!n) return SKYSAIL_FAILED;
    for (size_t row = 0; row < skysail_rows(in); row++) {
        const skysail_tensor *say = skysail_input_row(in, "say", row);
        char word[64] = "";
        if (!say || say->bytes >= sizeof word) return skysail_fail("too long a word");
        memcpy(word, say->data, say->bytes);
        if (strcmp(word, "fail") == 0) return skysail_fail("as you wish");
        if (strcmp(word, "status") == 0) return 3;
        if (strcmp(word, "none") == 0) continue;
        if (strcmp(word, "time") == 0) n[row] = (int32_t)(skysail_remaining_us(ctx) / 1000000);
        if (strcmp(word, "misuse") == 0 && misuse(ctx, kept, in, out) != 0) return SKYSAIL_FAILED;
        if (strcmp(word, "keep") == 0) kept->in = in, kept->out = out;
        if (strcmp(word, "row") == 0 && skysail_fail_row(out, row, "not this one") == 0) continue;
        if (skysail_push_text(out, "said", word, strlen(word)) != 0) return SKYSAIL_FAILED;
    }
    return 0;
}

static void unload(void *state) {
    struct kept *kept = state;
    /* What was kept is closed, not gone: asking it is an error. */
    if (kept->in && (skysail_rows(kept->in) || !strstr(skysail_last_error(), "over") || skysail_output(kept->out, "n")))
        abort();
    free(kept);
    skysail_log(SKYSAIL_INFO, "unloaded");
}

int main(int argc, char **argv) {
    const char *variant = getenv("VARIANT") ? getenv("VARIANT") : "";
    skysail_model model = {.size = sizeof model, .signature = "say: string -> said: string, n: i32",
                           .user = (void *)variant, .load = load, .predict = predict, .unload = unload};
    struct { skysail_model model; void *later; } longer = {model, NULL};
    if (strcmp(variant, "sizeless") == 0) model.size = 0;
    if (strcmp(variant, "mute") == 0) model.predict = NULL;
    if (strcmp(variant, "unsigned") == 0) model.signature = NULL;
    if (strcmp(variant, "arrowless") == 0) model.signature = "say: string";
    if (strcmp(variant, "greedy") == 0) model.max_batch = 100000;
    if (strcmp(variant, "null") == 0) return skysail_run(NULL, argc, argv);
    if (strcmp(variant, "argless") == 0) return skysail_run(&model, 1, NULL);
    longer.model.size = sizeof longer;
    if (strcmp(variant, "longer") == 0) return skysail_run(&longer.model, argc, argv);
    if (strcmp(variant, "later") == 0) return longer.later = &longer, skysail_run(&longer.model, argc, argv);
    if (skysail_abi() != SKYSAIL_ABI || !*skysail_version() || *skysail_last_error()) return 9;
    return skysail_run(&model, argc, argv);
}
