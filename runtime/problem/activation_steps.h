/* activation_steps.h: the activations, operation by operation as kernels do them (gen/activations.lua); included by activation.c once
 * per type.
 *
 * T is the type, BITS the integer of its size, FN(name) adds its suffix, FMA is its fma. AT_LEAST and AT_MOST give their second
 * operand where it is NaN, as kernels do. MAGIC is 1.5 times the power of two at which T counts in ones, and the exponent's bias:
 * adding it rounds to an integer, which then stands in the lowest bits as an exponent does; FRACTION bits stand below one. */

#define AT_LEAST(low, x) ((low) > (x) ? (low) : (x))
#define AT_MOST(high, x) ((high) < (x) ? (high) : (x))

INLINE T FN(horner)(const T *c, int count, T x)
{
    T sum = c[count - 1];
    for (int i = count - 2; i >= 0; i--) sum = FMA(sum, x, c[i]);
    return sum;
}

#define HORNER(list, x) FN(horner)(FN(list), (int)(sizeof FN(list) / sizeof(T)), x)

/* exp(x + rest) = scale * (1 + result), which is exp(high + low) - 1; scale is 0 and infinite at the ends of the range that x is kept in. */
INLINE T FN(exponential)(T x, T rest, T *scale)
{
    union { T value; BITS bits; } power = {FMA(x, FN(reduction)[0], MAGIC)};
    T n = power.value - MAGIC;
    T high = FMA(n, -FN(reduction)[1], x), low = FMA(n, -FN(reduction)[2], rest), r = high + low;
    power.bits <<= FRACTION;
    *scale = power.value;
    return FMA(r * r, HORNER(expm1, r), low) + high;
}

INLINE T FN(over_one_plus_exp)(T x, T over)
{
    T scale, t = 0 - AT_MOST(FN(limits)[0], x);
    T part = FN(exponential)(t, 0, &scale);
    return over / ((part + 1) * scale + 1);
}

INLINE T FN(relu_of)(T x, T lo, T hi) { return (void)lo, (void)hi, AT_LEAST(0, x); }
INLINE T FN(clamp_of)(T x, T lo, T hi) { T raised = AT_LEAST(lo, x); return AT_MOST(hi, raised); }

INLINE T FN(leaky_of)(T x, T slope, T floor)
{
    T below = AT_MOST(0, x), y = FMA(slope, below, AT_LEAST(0, x));
    return AT_LEAST(floor, y);
}

INLINE T FN(hardsigmoid_of)(T x, T alpha, T beta)
{
    T y = FMA(x, alpha, beta), raised = AT_LEAST(0, y);
    return AT_MOST(1, raised);
}

INLINE T FN(hardswish_of)(T x, T lo, T hi)
{
    T gate = x + 3, raised = AT_LEAST(0, gate), part = AT_MOST(6, raised) * ((T)1 / 6);
    return (void)lo, (void)hi, part * AT_LEAST(-3, x);
}

INLINE T FN(sigmoid_of)(T x, T lo, T hi)
{
    return (void)lo, (void)hi, FN(over_one_plus_exp)(AT_LEAST(FN(limits)[1], x), 1);
}

INLINE T FN(silu_of)(T x, T lo, T hi)
{
    T raised = AT_LEAST(FN(limits)[1], x);
    return (void)lo, (void)hi, FN(over_one_plus_exp)(raised, raised);
}

/* (exp(-2|x|) - 1) / (exp(-2|x|) + 1), whose numerator is exact enough where x is small. What the quotient and the denominator lost in
 * rounding is put back; between 1 and 2, 3/4 is one over the denominator as near as needed. */
INLINE T FN(tanh_of)(T x, T lo, T hi)
{
    T scale, m = COPYSIGN(x, -1), t = m + m, raised = AT_LEAST(-FN(limits)[0], t);
    T part = FN(exponential)(raised, 0, &scale), over = FMA(scale, part, scale - 1), e = (part + 1) * scale, under = e + 1;
    T lost = e - (under - 1), y = over / under, left = FMA(-y, lost, FMA(-y, under, over));
    return (void)lo, (void)hi, COPYSIGN(FMA(left, (T)0.75, y), x);
}

/* max(x, 0) - |x| * tail(|x|): the tail of the normal distribution by its ratio to exp(-x^2 / 2), whose exponent is a pair. */
INLINE T FN(gelu_of)(T x, T lo, T hi)
{
    T scale, m = COPYSIGN(x, -1), far = AT_LEAST(-FN(limits)[2], m), t = COPYSIGN(far, 1), half = far * (T)0.5;
    T square = half * t, rest = FMA(half, t, -square), part = FN(exponential)(square, rest, &scale);
    T over = HORNER(mills_over, t), under = HORNER(mills_under, t);
    T small = FMA(over, t, over), share = (T)0.46875;
    over = FMA(under, share, small);
    T lost = FMA(under, share, -over) + small;
    under = FMA(under, t, under);
    T tail = (FMA(part, over, lost) + over) * scale / under;
    return (void)lo, (void)hi, FMA(far, tail, AT_LEAST(0, x));
}

#define EACH(name)                                                                                          \
    CLONES static void FN(name)(T lo, T hi, const T *slope, int64_t n, T *y)                                \
    {                                                                                                       \
        (void)slope;                                                                                        \
        for (int64_t i = 0; i < n; i++) y[i] = FN(name##_of)(y[i], lo, hi);                                 \
    }
EACH(relu)
EACH(clamp)
EACH(leaky)
EACH(hardsigmoid)
EACH(hardswish)
EACH(sigmoid)
EACH(silu)
EACH(tanh)
EACH(gelu)
#undef EACH

CLONES static void FN(prelu)(T lo, T hi, const T *slope, int64_t n, T *y)
{
    (void)lo, (void)hi;
    for (int64_t i = 0; i < n; i++) y[i] = FN(leaky_of)(y[i], slope[i], -(T)INFINITY);
}

#undef HORNER
#undef AT_LEAST
#undef AT_MOST
