/*
 * Skysail container SDK for C. Made by cbindgen from container-sdk/c; do not edit.
 *
 * A model is a struct of functions (skysail_model), and skysail_run is the whole of main. Everything
 * that may be NULL says so; a function that fails returns NULL, 0 or SKYSAIL_FAILED, as it says, and
 * skysail_last_error then says why. A function of the model may pass that on by returning
 * SKYSAIL_FAILED. Pointers that are passed are valid for the time of the call; text is UTF-8 and ends
 * with a zero byte. docs/guides/c.md shows a model from its first line to its first answer.
 */


#ifndef SKYSAIL_H
#define SKYSAIL_H

#include <stddef.h>
#include <stdint.h>

/**
 * A function of the model failed. Its message is the thread's last error: what skysail_fail was
 * given, or else why a function of this library failed.
 */
#define SKYSAIL_FAILED -1

/**
 * What load returns if not the model is wrong, but what it was started with or in; see skysail_unfit.
 */
#define SKYSAIL_UNFIT -2

/**
 * What warm_up returns if rows of zeros are to go through predict, as if there were no warm_up.
 */
#define SKYSAIL_ZEROS 1

/**
 * The version of this ABI. It counts changes that a built program does not bear; the library's name
 * has it too (libskysail.so.1).
 */
#define SKYSAIL_ABI 1

/**
 * For skysail_log: the model, or what it works with, is broken.
 */
#define SKYSAIL_ERROR 1

/**
 * For skysail_log: somebody should look at it.
 */
#define SKYSAIL_WARNING 2

/**
 * For skysail_log: good to know.
 */
#define SKYSAIL_INFO 3

/**
 * The rows that one call of predict answers: their input tensors.
 */
typedef struct skysail_batch skysail_batch;

/**
 * The model's names and files, and the time that is left for the batch at hand.
 */
typedef struct skysail_ctx skysail_ctx;

/**
 * Where one call of predict writes its answers.
 */
typedef struct skysail_outputs skysail_outputs;

/**
 * Address space in which data of a batch is shown once, and reads as zeros ever after.
 *
 * For languages with a garbage collector: only that knows when nobody reads any more what a model was
 * shown, and it tells it late. All addresses of a stage can be read until it is freed, and none shows
 * anything twice.
 */
typedef struct skysail_stage skysail_stage;

/**
 * An element type: one of SKYSAIL_BOOL to SKYSAIL_STRING. Elements are little-endian.
 */
typedef uint32_t skysail_dtype;

/**
 * All rows of a tensor, or one of them. This struct stays as it is for all versions of the ABI.
 *
 * Of all rows `dims` begins with their number, and a dimension in which they may differ is -1.
 * Of one row every dimension has its size.
 *
 * `offsets` is NULL where rows are all alike. Else, of all rows of a tensor with elements of one
 * size it has the first element of each row, and the end. Of a tensor of byte strings it has, for
 * all rows as for one, where each string begins in bytes, and the end: string `i` begins at
 * `data + (offsets[i] - offsets[0])` and has `offsets[i + 1] - offsets[i]` bytes; no zero byte
 * follows.
 */
typedef struct skysail_tensor {
  /**
   * As in the signature.
   */
  const char *name;
  /**
   * Element type.
   */
  skysail_dtype dtype;
  /**
   * Number of dimensions.
   */
  uint32_t rank;
  /**
   * Sizes of the dimensions, the last one changing fastest.
   */
  const int64_t *dims;
  /**
   * The elements without gaps, aligned for them.
   */
  const void *data;
  /**
   * Bytes of data.
   */
  size_t bytes;
  /**
   * See above.
   */
  const uint64_t *offsets;
} skysail_tensor;

/**
 * A model: its signature and its functions. Set all of it to zero, then what there is.
 *
 * The functions are called on one thread, the one that calls skysail_run: load once, warm_up once,
 * predict for each batch, and unload once if load was good. They return 0, or what skysail_fail
 * returns. What they are given may be used until they return, and data of inputs and outputs by other
 * threads too; ctx, single rows and the outputs' functions by this thread alone.
 */
typedef struct skysail_model {
  /**
   * sizeof(skysail_model). Later versions of the struct are longer.
   */
  size_t size;
  /**
   * Inputs and outputs by one row each, such as `x: f32[784], n: i64 -> y: f32[10]`. Element types
   * are bool, u8 to u64, i8 to i64, f16, bf16, f32, f64, bytes and string; without brackets a row
   * has one element; -1 is a dimension in which rows may differ.
   */
  const char *signature;
  /**
   * The most rows of a batch, 1 to 65536; 0 for 64.
   */
  size_t max_batch;
  /**
   * Name and version of a binding on this library, as the front end's log tells it; NULL if there
   * is none.
   */
  const char *sdk;
  /**
   * Given to load.
   */
  void *user;
  /**
   * Loads the model: what it stores to state is given to the other functions. NULL if there is
   * nothing to load; state is then user.
   */
  int (*load)(const struct skysail_ctx *ctx, void *user, void **state);
  /**
   * Prepares the model before it is offered to the front end. NULL: one row and the most rows, of
   * zeros and empty texts, go through predict.
   */
  int (*warm_up)(const struct skysail_ctx *ctx, void *state);
  /**
   * Answers a batch, whose rows fit the signature and are 1 to max_batch. If it fails, all of the
   * batch fails with its message, and the next batch is given to the same state.
   */
  int (*predict)(const struct skysail_ctx *ctx,
                 void *state,
                 const struct skysail_batch *batch,
                 struct skysail_outputs *out);
  /**
   * Frees what load made. NULL if there is nothing to free.
   */
  void (*unload)(void *state);
} skysail_model;

/**
 * One byte, 0 or 1.
 */
#define SKYSAIL_BOOL 0

/**
 * uint8_t
 */
#define SKYSAIL_U8 1

/**
 * uint16_t
 */
#define SKYSAIL_U16 2

/**
 * uint32_t
 */
#define SKYSAIL_U32 3

/**
 * uint64_t
 */
#define SKYSAIL_U64 4

/**
 * int8_t
 */
#define SKYSAIL_I8 5

/**
 * int16_t
 */
#define SKYSAIL_I16 6

/**
 * int32_t
 */
#define SKYSAIL_I32 7

/**
 * int64_t
 */
#define SKYSAIL_I64 8

/**
 * IEEE half precision, as its bits in a uint16_t.
 */
#define SKYSAIL_F16 9

/**
 * bfloat16, as its bits in a uint16_t.
 */
#define SKYSAIL_BF16 10

/**
 * float
 */
#define SKYSAIL_F32 11

/**
 * double
 */
#define SKYSAIL_F64 12

/**
 * Byte strings of any length.
 */
#define SKYSAIL_BYTES 13

/**
 * Byte strings of any length, each valid UTF-8.
 */
#define SKYSAIL_STRING 14

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * SKYSAIL_ABI of the library that is loaded.
 */
uint32_t skysail_abi(void);

/**
 * The library's version, such as "0.1.0".
 */
const char *skysail_version(void);

/**
 * The whole of a container's main: reads the flags of main and the environment (--help shows them),
 * loads the model, warms it up and serves it until it is asked to stop by SIGTERM or SIGINT.
 *
 * Returns the exit status: 0 done, 1 the model failed or the front end refuses it, 2 wrong usage,
 * environment, model or signature. What is wrong is told on standard error in a line.
 */
int skysail_run(const skysail_model* model, int argc, char** argv);

/**
 * Why the last function of this library that failed on this thread did; empty if none did. Stays
 * until the next one fails.
 */
const char *skysail_last_error(void);

/**
 * Sets the message with which a function of the model fails. Returns SKYSAIL_FAILED, for it to
 * return: `return skysail_fail("no weights");`.
 */
int skysail_fail(const char* message);

/**
 * As skysail_fail, where not the model is wrong but what it was started with or in: a library is
 * missing, a file is of another version. Say what to do; the container then exits with status 2.
 * Returns SKYSAIL_UNFIT, for load to return.
 */
int skysail_unfit(const char* message);

/**
 * Writes to the container's log, which is on standard error; RUST_LOG sets what is written.
 * Another level is for whoever looks for a fault.
 */
void skysail_log(int level, const char* message);

/**
 * The file name in the model's directory (--path, by default the current one), or the directory if
 * name is NULL. The text is there until the model's function returns. NULL if it fails.
 */
const char *skysail_path(const struct skysail_ctx *ctx, const char* name);

/**
 * The name under which the model is served; "local" where it is not served.
 */
const char *skysail_model_name(const struct skysail_ctx *ctx);

/**
 * The version under which the model is served; "0" where it is not served.
 */
const char *skysail_model_version(const struct skysail_ctx *ctx);

/**
 * Microseconds until the last deadline in the batch, 0 when it has passed; UINT64_MAX where there is
 * none.
 */
uint64_t skysail_remaining_us(const struct skysail_ctx *ctx);

/**
 * Rows of the batch, 1 to max_batch; 0 if it fails.
 */
size_t skysail_rows(const struct skysail_batch *batch);

/**
 * All elements of an input, row after row: dtype is that of the signature. They are not copied, and
 * must not be written. NULL if there is no such input, or it holds something else.
 */
const void *skysail_input_data(const struct skysail_batch *batch,
                               const char* name,
                               skysail_dtype dtype);

/**
 * An input, all rows of it; NULL if there is no such input.
 */
const struct skysail_tensor *skysail_input(const struct skysail_batch *batch, const char* name);

/**
 * An input by its place in the signature, from 0; NULL if there are not so many.
 */
const struct skysail_tensor *skysail_input_at(const struct skysail_batch *batch, size_t index);

/**
 * One row of an input, of whatever type and dimensions; NULL if there is no such input or row. The
 * struct and its dims are there until the next call of this function.
 */
const struct skysail_tensor *skysail_input_row(const struct skysail_batch *batch,
                                               const char* name,
                                               size_t row);

/**
 * All elements of an output whose rows are alike, row after row, zero at first, to be written until
 * predict returns: dtype is that of the signature. NULL if there is no such output, it holds
 * something else, or its rows may differ.
 */
void *skysail_output_data(struct skysail_outputs *out, const char* name, skysail_dtype dtype);

/**
 * An output: its dimensions, and its data if its rows are alike; NULL if there is no such output.
 */
const struct skysail_tensor *skysail_output(struct skysail_outputs *out, const char* name);

/**
 * An output by its place in the signature, from 0; NULL if there are not so many.
 */
const struct skysail_tensor *skysail_output_at(struct skysail_outputs *out, size_t index);

/**
 * Copies all rows of an output whose rows are alike from the model's own memory. Name, dtype, dims
 * (rows first) and bytes must be those of the output.
 */
int skysail_set(struct skysail_outputs *out, const struct skysail_tensor *tensor);

/**
 * Answers the next row of an output whose rows may differ, with a tensor of that one row. Rows that
 * have failed are left out. The data is copied.
 */
int skysail_push(struct skysail_outputs *out, const struct skysail_tensor *row);

/**
 * skysail_push for an output with one variable dimension: count elements.
 */
int skysail_push_elements(struct skysail_outputs *out,
                          const char* name,
                          skysail_dtype dtype,
                          const void* data,
                          size_t count);

/**
 * skysail_push for an output of one string a row. It need not end with a zero byte.
 */
int skysail_push_text(struct skysail_outputs *out,
                      const char* name,
                      const void* text,
                      size_t bytes);

/**
 * Fails one row, from 0, with a message for whoever asked; the other rows stand. What is written for
 * the row is not used.
 */
int skysail_fail_row(struct skysail_outputs *out,
                     size_t row,
                     const char* message);

/**
 * A stage of so many bytes of address space, which takes no memory; NULL if there is not so much.
 */
struct skysail_stage *skysail_stage_new(size_t bytes);

/**
 * Where its addresses begin.
 */
const void *skysail_stage_base(const struct skysail_stage *stage);

/**
 * Shows the data of an input, by its place in the signature, until the stage is cleared: the offset from
 * its base. SIZE_MAX if there is no room left, or the data did not come by shared memory: copy it then.
 */
size_t skysail_stage_show(struct skysail_stage *stage,
                          const struct skysail_batch *batch,
                          size_t index);

/**
 * Replaces what was shown by zeros, which must be done before predict returns. If it fails, the process
 * had better end: what was shown would change.
 */
int skysail_stage_clear(struct skysail_stage *stage);

/**
 * Frees the addresses, which nobody may read any more. NULL is nothing to free.
 */
void skysail_stage_free(struct skysail_stage *stage);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SKYSAIL_H */
