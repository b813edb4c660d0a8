/* types.c: what the elements of tensors are, one row a type.
 *
 * All that is not arithmetic on them goes through a row: their size, how they are read as a double and written from one, how their rounding and
 * their NaNs look, how large integers may be whose sums have to be exact. What is computed in a type stands in check/reference_sums.h. */
#include "problem/problem.h"

#define TYPE(name, T)                                                                                                  \
    static void read_##name(const void *data, int64_t first, int64_t n, double *values)                                \
    {                                                                                                                  \
        const T *from = (const T *)data + first;                                                                       \
        for (int64_t i = 0; i < n; i++) values[i] = (double)from[i];                                                   \
    }                                                                                                                  \
    static void write_##name(void *data, int64_t first, int64_t n, const double *values)                               \
    {                                                                                                                  \
        T *to = (T *)data + first;                                                                                     \
        for (int64_t i = 0; i < n; i++) to[i] = (T)values[i];                                                          \
    }
TYPE(f32, float)
TYPE(f64, double)

const cg_type_row cg_types[CG_TYPES] = {
    [CONVGEN_F32] = {"f32", sizeof(float), 24, -125, 0x1p23, 0x1p16, 16, {0, 0x00400000}, read_f32, write_f32},
    [CONVGEN_F64] = {"f64", sizeof(double), 53, -1021, 0x1p50, 0x1p42, 256, {4, 0x00080000}, read_f64, write_f64}, /* little-endian */
};

convgen_type cg_computed(convgen_type type)
{
    static const unsigned char sums[CG_TYPES] = CG_TYPE_SUMS;
    return (convgen_type)sums[type];
}
