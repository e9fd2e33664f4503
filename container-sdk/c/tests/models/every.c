/* Gives back what it takes: every element type, and every kind of row. */
#include "echo.h"

#define TYPES                                                                                        \
    "t_bool: bool[2], t_u8: u8[2], t_u16: u16[2], t_u32: u32[2], t_u64: u64[2], t_i8: i8[2], "        \
    "t_i16: i16[2], t_i32: i32[2], t_i64: i64[2], t_f16: f16[2], t_f32: f32[2], t_f64: f64[2], "      \
    "scalar: f32, matrix: i32[2,3], ragged: f32[-1], wide: i64[-1,2], image: u8[-1,-1,3], "           \
    "text: string, blob: bytes, pair: string[2], tags: bytes[-1], grid: string[-1,-1]"

int main(int argc, char **argv) {
    skysail_model every = {.size = sizeof every, .signature = TYPES " -> " TYPES, .predict = echo};
    return skysail_run(&every, argc, argv);
}
