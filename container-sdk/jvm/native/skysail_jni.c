/*
 * The native half of skysail.jar: class skysail.Native over the C ABI of the container SDK.
 *
 * All of it runs on the thread that called Native.run. Texts cross as UTF-8 in byte arrays, elements as
 * arrays of the primitive type of their width, copied, or large ones of inputs on a stage. Java
 * checks names, types and the life of handles before it calls; what is checked here besides are
 * references that may be null when memory is short.
 */
#include <jni.h>
#include <skysail.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What the model's functions need, while run is under way. */
typedef struct {
    JNIEnv *env;
    jobject glue;
    jmethodID load, warm_up, predict, unload, message;
} binding;

/* Local references of one call into Java. */
enum { REFERENCES = 64 };

static void *handle(jlong address) { return (void *)(intptr_t)address; }

static jlong address(const void *handle) { return (jlong)(intptr_t)handle; }

/* A text of its own, to free, of a byte array; NULL if it is null or memory is short. */
static char *text_of(JNIEnv *env, jbyteArray bytes) {
    jsize length = bytes ? (*env)->GetArrayLength(env, bytes) : 0;
    char *text = bytes ? malloc((size_t)length + 1) : NULL;
    if (!text) return NULL;
    (*env)->GetByteArrayRegion(env, bytes, 0, length, (jbyte *)text);
    text[length] = 0;
    return text;
}

static jbyteArray bytes_of(JNIEnv *env, const char *text) {
    jsize length = text ? (jsize)strlen(text) : 0;
    jbyteArray bytes = (*env)->NewByteArray(env, length);
    if (bytes) (*env)->SetByteArrayRegion(env, bytes, 0, length, (const jbyte *)text);
    return bytes;
}

/* Throws the SDK's last error. */
static void raise_last(JNIEnv *env) {
    jclass type = (*env)->FindClass(env, "skysail/SkysailException");
    jmethodID make = type ? (*env)->GetMethodID(env, type, "<init>", "([B)V") : NULL;
    jbyteArray why = make ? bytes_of(env, skysail_last_error()) : NULL;
    jobject error = why ? (*env)->NewObject(env, type, make, why) : NULL;
    if (error) (*env)->Throw(env, error);
}

/* What a method of Glue said: a status, and if that is a failure's, there is a message to fetch. */
static int told(const binding *java, jint status) {
    JNIEnv *env = java->env;
    jbyteArray why = NULL;
    if (status < 0 && !(*env)->ExceptionCheck(env))
        why = (*env)->CallObjectMethod(env, java->glue, java->message);
    if ((*env)->ExceptionCheck(env)) {
        (*env)->ExceptionDescribe(env);
        (*env)->ExceptionClear(env);
        return skysail_fail("the JVM is short of memory, or the SDK is broken: see what it printed");
    }
    if (status >= 0) return status;
    char *text = text_of(env, why);
    status = status == SKYSAIL_UNFIT ? skysail_unfit(text) : skysail_fail(text);
    free(text);
    return status;
}

static int load(const skysail_ctx *ctx, void *user, void **state) {
    binding *java = *state = user;
    JNIEnv *env = java->env;
    if ((*env)->PushLocalFrame(env, REFERENCES) != 0) return told(java, 0);
    jbyteArray directory = bytes_of(env, skysail_path(ctx, NULL));
    jbyteArray model = directory ? bytes_of(env, skysail_model_name(ctx)) : NULL;
    jbyteArray version = model ? bytes_of(env, skysail_model_version(ctx)) : NULL;
    jint status = 0; /* or an exception */
    if (version) {
        status = (*env)->CallIntMethod(env, java->glue, java->load, directory, model, version);
    }
    status = told(java, status);
    (*env)->PopLocalFrame(env, NULL);
    return status;
}

static int warm_up(const skysail_ctx *ctx, void *state) {
    binding *java = state;
    JNIEnv *env = java->env;
    (void)ctx;
    if ((*env)->PushLocalFrame(env, REFERENCES) != 0) return told(java, 0);
    int status = told(java, (*env)->CallIntMethod(env, java->glue, java->warm_up));
    (*env)->PopLocalFrame(env, NULL);
    return status;
}

static int predict(const skysail_ctx *ctx, void *state, const skysail_batch *batch,
                   skysail_outputs *out) {
    binding *java = state;
    JNIEnv *env = java->env;
    if ((*env)->PushLocalFrame(env, REFERENCES) != 0) return told(java, 0);
    uint64_t remaining = skysail_remaining_us(ctx);
    jint status = (*env)->CallIntMethod(
        env, java->glue, java->predict, address(batch), address(out), (jint)skysail_rows(batch),
        remaining > INT64_MAX ? (jlong)INT64_MAX : (jlong)remaining);
    status = told(java, status);
    (*env)->PopLocalFrame(env, NULL);
    return status;
}

static void unload(void *state) {
    binding *java = state;
    (*java->env)->CallVoidMethod(java->env, java->glue, java->unload);
    told(java, 0);
}

JNIEXPORT jint JNICALL Java_skysail_Native_run(JNIEnv *env, jclass type, jobject glue,
                                               jbyteArray signature, jlong max_batch, jbyteArray sdk,
                                               jobjectArray arguments) {
    (void)type;
    jclass of = (*env)->GetObjectClass(env, glue);
    binding java = {.env = env, .glue = glue};
    java.load = (*env)->GetMethodID(env, of, "load", "([B[B[B)I");
    java.warm_up = java.load ? (*env)->GetMethodID(env, of, "warmUp", "()I") : NULL;
    java.predict = java.warm_up ? (*env)->GetMethodID(env, of, "predict", "(JJIJ)I") : NULL;
    java.unload = java.predict ? (*env)->GetMethodID(env, of, "unload", "()V") : NULL;
    java.message = java.unload ? (*env)->GetMethodID(env, of, "message", "()[B") : NULL;
    if (!java.message) return 2; /* with an exception */
    jsize count = (*env)->GetArrayLength(env, arguments), read = 0;
    char **argv = calloc((size_t)count + 1, sizeof(char *));
    for (; argv && read < count; read++) {
        jbyteArray argument = (*env)->GetObjectArrayElement(env, arguments, read);
        argv[read] = text_of(env, argument);
        (*env)->DeleteLocalRef(env, argument);
    }
    skysail_model model = {.size = sizeof model, .max_batch = (size_t)max_batch, .user = &java};
    char *signature_text = text_of(env, signature), *sdk_text = text_of(env, sdk);
    model.signature = signature_text;
    model.sdk = sdk_text;
    model.load = load;
    model.warm_up = warm_up;
    model.predict = predict;
    model.unload = unload;
    int status = skysail_run(&model, argv ? count : 0, argv);
    for (jsize at = 0; at < read; at++) free(argv[at]);
    free(argv);
    free(signature_text);
    free(sdk_text);
    return status;
}

/* A primitive array of the elements' width: float and double as themselves, all others as integers. */
static jarray array_of(JNIEnv *env, skysail_dtype dtype, const void *data, size_t bytes) {
    jarray array;
    if (bytes > INT32_MAX) {
        (*env)->ThrowNew(env, (*env)->FindClass(env, "java/lang/OutOfMemoryError"),
                         "a tensor of a batch has more than 2 GiB");
        return NULL;
    }
    jsize length = (jsize)bytes;
    switch (dtype) {
    case SKYSAIL_F32: array = (*env)->NewFloatArray(env, length / 4); break;
    case SKYSAIL_F64: array = (*env)->NewDoubleArray(env, length / 8); break;
    case SKYSAIL_U16: case SKYSAIL_I16: case SKYSAIL_F16: case SKYSAIL_BF16:
        array = (*env)->NewShortArray(env, length / 2); break;
    case SKYSAIL_U32: case SKYSAIL_I32: array = (*env)->NewIntArray(env, length / 4); break;
    case SKYSAIL_U64: case SKYSAIL_I64: array = (*env)->NewLongArray(env, length / 8); break;
    default: array = (*env)->NewByteArray(env, length);
    }
    if (!array || bytes == 0) return array;
    void *to = (*env)->GetPrimitiveArrayCritical(env, array, NULL);
    if (!to) return NULL;
    memcpy(to, data, bytes);
    (*env)->ReleasePrimitiveArrayCritical(env, array, to, 0);
    return array;
}

JNIEXPORT jobject JNICALL Java_skysail_Native_elements(JNIEnv *env, jclass type, jlong batch,
                                                       jint index) {
    const skysail_tensor *tensor = skysail_input_at(handle(batch), (size_t)index);
    (void)type;
    if (!tensor) return raise_last(env), NULL;
    return array_of(env, tensor->dtype, tensor->data, tensor->bytes);
}

/* Where one row lies among the elements, and its dimensions: [first byte, bytes, dims...]. */
JNIEXPORT jlongArray JNICALL Java_skysail_Native_row(JNIEnv *env, jclass type, jlong batch, jint index,
                                                     jint row) {
    const skysail_tensor *all = skysail_input_at(handle(batch), (size_t)index);
    const skysail_tensor *one = all ? skysail_input_row(handle(batch), all->name, (size_t)row) : NULL;
    (void)type;
    if (!one) return raise_last(env), NULL;
    jlong place[2] = {(jlong)((const char *)one->data - (const char *)all->data), (jlong)one->bytes};
    jlongArray found = (*env)->NewLongArray(env, (jsize)one->rank + 2);
    if (!found) return NULL;
    (*env)->SetLongArrayRegion(env, found, 0, 2, place);
    (*env)->SetLongArrayRegion(env, found, 2, (jsize)one->rank, (const jlong *)one->dims);
    return found;
}

/* Where the strings of a row begin, and the end, among the elements; none for other types. */
JNIEXPORT jlongArray JNICALL Java_skysail_Native_strings(JNIEnv *env, jclass type, jlong batch,
                                                         jint index, jint row) {
    const skysail_tensor *all = skysail_input_at(handle(batch), (size_t)index);
    const skysail_tensor *one = all ? skysail_input_row(handle(batch), all->name, (size_t)row) : NULL;
    (void)type;
    if (!one) return raise_last(env), NULL;
    jsize count = 1;
    for (uint32_t dim = 0; dim < one->rank; dim++) count *= (jsize)one->dims[dim];
    jlongArray found = (*env)->NewLongArray(env, count + 1);
    if (found) (*env)->SetLongArrayRegion(env, found, 0, count + 1, (const jlong *)one->offsets);
    return found;
}

/* A tensor of a primitive array for skysail_set or skysail_push. */
static void give(JNIEnv *env, skysail_outputs *out, jint index, jarray elements, jint width,
                 jlongArray dims, jlongArray offsets, bool all) {
    const skysail_tensor *known = skysail_output_at(out, (size_t)index);
    if (!known) return raise_last(env);
    skysail_tensor tensor = *known;
    jlong *sizes = dims ? (*env)->GetLongArrayElements(env, dims, NULL) : NULL;
    jlong *places = offsets ? (*env)->GetLongArrayElements(env, offsets, NULL) : NULL;
    if ((dims && !sizes) || (offsets && !places)) return; /* with an exception */
    if (dims) {
        tensor.rank = (uint32_t)(*env)->GetArrayLength(env, dims);
        tensor.dims = (const int64_t *)sizes;
    }
    tensor.offsets = (const uint64_t *)places;
    tensor.bytes = (size_t)(*env)->GetArrayLength(env, elements) * (size_t)width;
    tensor.data = (*env)->GetPrimitiveArrayCritical(env, elements, NULL);
    int status = SKYSAIL_FAILED;
    if (tensor.data) {
        status = all ? skysail_set(out, &tensor) : skysail_push(out, &tensor);
        (*env)->ReleasePrimitiveArrayCritical(env, elements, (void *)tensor.data, JNI_ABORT);
    }
    if (sizes) (*env)->ReleaseLongArrayElements(env, dims, sizes, JNI_ABORT);
    if (places) (*env)->ReleaseLongArrayElements(env, offsets, places, JNI_ABORT);
    if (status != 0 && !(*env)->ExceptionCheck(env)) raise_last(env);
}

JNIEXPORT void JNICALL Java_skysail_Native_set(JNIEnv *env, jclass type, jlong out, jint index,
                                               jobject elements, jint width) {
    (void)type;
    give(env, handle(out), index, elements, width, NULL, NULL, true);
}

JNIEXPORT void JNICALL Java_skysail_Native_push(JNIEnv *env, jclass type, jlong out, jint index,
                                                jobject elements, jint width, jlongArray dims,
                                                jlongArray offsets) {
    (void)type;
    give(env, handle(out), index, elements, width, dims, offsets, false);
}

JNIEXPORT void JNICALL Java_skysail_Native_failRow(JNIEnv *env, jclass type, jlong out, jint row,
                                                   jbyteArray why) {
    char *text = text_of(env, why);
    (void)type;
    if (skysail_fail_row(handle(out), (size_t)row, text) != 0) raise_last(env);
    free(text);
}

JNIEXPORT void JNICALL Java_skysail_Native_log(JNIEnv *env, jclass type, jint level, jbyteArray what) {
    char *text = text_of(env, what);
    (void)type;
    skysail_log(level, text);
    free(text);
}

JNIEXPORT jlong JNICALL Java_skysail_Native_stage(JNIEnv *env, jclass type, jlong bytes) {
    (void)env, (void)type;
    return address(skysail_stage_new((size_t)bytes));
}

JNIEXPORT jobject JNICALL Java_skysail_Native_stageBuffer(JNIEnv *env, jclass type, jlong stage,
                                                          jlong bytes) {
    (void)type;
    return (*env)->NewDirectByteBuffer(env, (void *)skysail_stage_base(handle(stage)), bytes);
}

/* The offset, or -1. */
JNIEXPORT jlong JNICALL Java_skysail_Native_stageShow(JNIEnv *env, jclass type, jlong stage, jlong batch,
                                                      jint index) {
    (void)env, (void)type;
    return (jlong)skysail_stage_show(handle(stage), handle(batch), (size_t)index);
}

JNIEXPORT void JNICALL Java_skysail_Native_stageClear(JNIEnv *env, jclass type, jlong stage) {
    (void)env, (void)type;
    if (skysail_stage_clear(handle(stage)) == 0) return;
    /* Buffers that the model keeps would show other queries. */
    skysail_log(SKYSAIL_ERROR, skysail_last_error());
    abort();
}

JNIEXPORT void JNICALL Java_skysail_Native_stageFree(JNIEnv *env, jclass type, jlong stage) {
    (void)env, (void)type;
    skysail_stage_free(handle(stage));
}
