// A linear scorer: y = W x, with W of 10 rows of 784 floats in w.f32.
#include <skysail.hpp>

#include <fstream>
#include <numeric>

constexpr std::size_t in = 784, out = 10;

struct Linear {
    std::vector<float> w = std::vector<float>(in * out);

    explicit Linear(const skysail::Ctx &ctx) {
        std::ifstream file(ctx.path("w.f32"), std::ios::binary);
        if (!file.read(reinterpret_cast<char *>(w.data()), sizeof(float) * w.size()))
            throw std::runtime_error("w.f32 cannot be read, or is too short");
    }

    void predict(const skysail::Batch &batch, skysail::Outputs &to, const skysail::Ctx &) {
        const float *x = batch.data<float>("x");
        float *y = to.data<float>("y");
        for (std::size_t row = 0; row < batch.rows(); row++, x += in)
            for (std::size_t o = 0; o < out; o++)
                *y++ = std::inner_product(x, x + in, &w[o * in], 0.0f);
    }
};

int main(int argc, char **argv) { return skysail::run<Linear>("x: f32[784] -> y: f32[10]", argc, argv); }
