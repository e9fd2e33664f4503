// Skysail container SDK for C++17: a model is a class, and an exception fails its batch.
//
//     struct Twice {
//         explicit Twice(const skysail::Ctx &) {}
//         void predict(const skysail::Batch &in, skysail::Outputs &out, const skysail::Ctx &) {
//             const float *x = in.data<float>("x");
//             float *y = out.data<float>("y");
//             for (std::size_t row = 0; row < in.rows(); row++) y[row] = 2 * x[row];
//         }
//     };
//     int main(int argc, char **argv) {
//         return skysail::run<Twice>("x: f32 -> y: f32", argc, argv);
//     }
//
// All of it lies over skysail.h, which says more of each function and may be used beside it. What a
// model is given may be used until its function returns.
#ifndef SKYSAIL_HPP
#define SKYSAIL_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "skysail.h"

namespace skysail {

// What a function of the library failed with.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// To be thrown by a constructor if not the model is wrong, but what it was started with or in: the
// container then exits with status 2.
struct Unfit : std::runtime_error {
    using std::runtime_error::runtime_error;
};

namespace detail {

template <class T> T *there(T *pointer) {
    if (!pointer) throw Error(skysail_last_error());
    return pointer;
}

inline void good(int status) {
    if (status != 0) throw Error(skysail_last_error());
}

template <class T> struct Type;
template <> struct Type<bool> { static constexpr skysail_dtype dtype = SKYSAIL_BOOL; };
template <> struct Type<std::uint8_t> { static constexpr skysail_dtype dtype = SKYSAIL_U8; };
template <> struct Type<std::uint16_t> { static constexpr skysail_dtype dtype = SKYSAIL_U16; };
template <> struct Type<std::uint32_t> { static constexpr skysail_dtype dtype = SKYSAIL_U32; };
template <> struct Type<std::uint64_t> { static constexpr skysail_dtype dtype = SKYSAIL_U64; };
template <> struct Type<std::int8_t> { static constexpr skysail_dtype dtype = SKYSAIL_I8; };
template <> struct Type<std::int16_t> { static constexpr skysail_dtype dtype = SKYSAIL_I16; };
template <> struct Type<std::int32_t> { static constexpr skysail_dtype dtype = SKYSAIL_I32; };
template <> struct Type<std::int64_t> { static constexpr skysail_dtype dtype = SKYSAIL_I64; };
template <> struct Type<float> { static constexpr skysail_dtype dtype = SKYSAIL_F32; };
template <> struct Type<double> { static constexpr skysail_dtype dtype = SKYSAIL_F64; };

} // namespace detail

// What surrounds a call of the model.
class Ctx {
  public:
    explicit Ctx(const skysail_ctx *raw) : raw_(raw) {}
    // The file name in the model's directory.
    std::string path(const char *name) const { return detail::there(skysail_path(raw_, name)); }
    std::string model() const { return detail::there(skysail_model_name(raw_)); }
    std::string version() const { return detail::there(skysail_model_version(raw_)); }
    // Microseconds until the last deadline in the batch; UINT64_MAX where there is none.
    std::uint64_t remaining_us() const { return skysail_remaining_us(raw_); }

  private:
    const skysail_ctx *raw_;
};

// The rows to answer.
class Batch {
  public:
    explicit Batch(const skysail_batch *raw) : raw_(raw) {}
    std::size_t rows() const { return skysail_rows(raw_); }
    // All elements of an input, row after row.
    template <class T> const T *data(const char *name) const {
        const void *data = skysail_input_data(raw_, name, detail::Type<T>::dtype);
        return static_cast<const T *>(detail::there(data));
    }
    const skysail_tensor &tensor(const char *name) const {
        return *detail::there(skysail_input(raw_, name));
    }
    // One row of an input, until the next one is asked for.
    const skysail_tensor &row(const char *name, std::size_t row) const {
        return *detail::there(skysail_input_row(raw_, name, row));
    }
    // The string of a row of an input that has one string a row.
    std::string_view text(const char *name, std::size_t row) const {
        const skysail_tensor &tensor = this->row(name, row);
        if (tensor.dtype < SKYSAIL_BYTES || tensor.rank > 0) {
            throw Error(std::string("input '") + name + "' has not one string a row");
        }
        return {static_cast<const char *>(tensor.data), tensor.bytes};
    }
    const skysail_batch *raw() const { return raw_; }

  private:
    const skysail_batch *raw_;
};

// Where the answers go.
class Outputs {
  public:
    explicit Outputs(skysail_outputs *raw) : raw_(raw) {}
    // All elements of an output whose rows are alike, row after row, zero at first.
    template <class T> T *data(const char *name) {
        void *data = skysail_output_data(raw_, name, detail::Type<T>::dtype);
        return static_cast<T *>(detail::there(data));
    }
    // The next row of an output with one variable dimension.
    template <class T> void push(const char *name, const T *elements, std::size_t count) {
        const skysail_dtype dtype = detail::Type<T>::dtype;
        detail::good(skysail_push_elements(raw_, name, dtype, elements, count));
    }
    template <class T> void push(const char *name, const std::vector<T> &elements) {
        push(name, elements.data(), elements.size());
    }
    // The next row of an output of one string a row.
    void push(const char *name, std::string_view text) {
        detail::good(skysail_push_text(raw_, name, text.data(), text.size()));
    }
    // The next row of an output whose rows may differ.
    void push(const skysail_tensor &row) { detail::good(skysail_push(raw_, &row)); }
    // Fails one row; the others stand.
    void fail_row(std::size_t row, const std::string &why) {
        detail::good(skysail_fail_row(raw_, row, why.c_str()));
    }
    skysail_outputs *raw() { return raw_; }

  private:
    skysail_outputs *raw_;
};

namespace detail {

template <class Call> int guarded(Call call) noexcept {
    try {
        call();
        return 0;
    } catch (const Unfit &error) {
        return skysail_unfit(error.what());
    } catch (const std::exception &error) {
        return skysail_fail(error.what());
    } catch (...) {
        return skysail_fail("the model threw something that is no std::exception");
    }
}

template <class M> int load(const skysail_ctx *ctx, void *, void **state) {
    return guarded([&] { *state = new M(Ctx(ctx)); });
}

template <class M>
int predict(const skysail_ctx *ctx, void *state, const skysail_batch *in, skysail_outputs *to) {
    return guarded([&] {
        Outputs out(to);
        static_cast<M *>(state)->predict(Batch(in), out, Ctx(ctx));
    });
}

template <class M> void unload(void *state) { delete static_cast<M *>(state); }

} // namespace detail

// The whole of a container's main, for a class M with a constructor from `const Ctx &`, which loads
// it, and `void predict(const Batch &, Outputs &, const Ctx &)`.
template <class M>
int run(const char *signature, int argc, char **argv, std::size_t max_batch = 0) {
    skysail_model model{};
    model.size = sizeof model;
    model.signature = signature;
    model.max_batch = max_batch;
    model.load = detail::load<M>;
    model.predict = detail::predict<M>;
    model.unload = detail::unload<M>;
    return skysail_run(&model, argc, argv);
}

} // namespace skysail

#endif // SKYSAIL_HPP
