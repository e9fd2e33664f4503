// Takes one row a batch, and pushes rows of their own length: for the memory of many batches.
#include <skysail.hpp>

struct Noop {
    explicit Noop(const skysail::Ctx &ctx) {
        if (ctx.model().empty() || ctx.version().empty()) throw skysail::Unfit("it has no name");
    }

    void predict(const skysail::Batch &in, skysail::Outputs &out, const skysail::Ctx &) {
        const float *x = in.data<float>("x");
        for (std::size_t row = 0; row < in.rows(); row++) {
            if (x[row] < 0) throw std::out_of_range("x is negative");
            if (x[row] == 99) throw 99;
            out.data<float>("y")[row] = x[row];
            out.push("copies", std::vector<float>(static_cast<std::size_t>(x[row]) % 8, x[row]));
            out.push("text", std::string_view("some text"));
        }
    }
};

int main(int argc, char **argv) {
    return skysail::run<Noop>("x: f32 -> y: f32, copies: f32[-1], text: string", argc, argv, 1);
}
