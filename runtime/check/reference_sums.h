/* reference_sums.h: the orders in which a row's terms are summed; included by reference.c once per type.
 *
 * T is the type, FN(name) adds its suffix, FMA is its fma, EXACT_ADD adds a product to a pair. Each function sums n <= WIDTH
 * outputs from output j on; the loops over outputs are innermost, so that they vectorise: full width and step 1 are
 * given as constants. */

/* sum[i] = chain of fma from +0 over terms [from, to). */
INLINE void FN(chain_part)(const row *r, int64_t from, int64_t to, int64_t j, int64_t n, int64_t step, T *sum)
{
    T acc[WIDTH] = {0};
    for (int64_t t = from; t < to; t++) {
        T s = ((const T *)r->a)[r->list->a[t]];
        const T *w = (const T *)r->b + r->list->b[t] + j * step;
        for (int64_t i = 0; i < n; i++) acc[i] = FMA(s, w[i * step], acc[i]);
    }
    for (int64_t i = 0; i < n; i++) sum[i] = acc[i];
}

CLONES static void FN(chain)(const row *r, int64_t from, int64_t to, int64_t j, int64_t n, T *sum)
{
    if (r->step == 1 && n == WIDTH) FN(chain_part)(r, from, to, j, WIDTH, 1, sum);
    else if (n == 1) FN(chain_part)(r, from, to, j, 1, r->step, sum);
    else if (r->step == 1) FN(chain_part)(r, from, to, j, n, 1, sum);
    else FN(chain_part)(r, from, to, j, n, r->step, sum);
}

/* Backward weights: the chains of the blocks, added in order from +0. */
static void FN(blocks)(const row *r, int64_t j, int64_t n, T *sum)
{
    T part[WIDTH];
    int64_t from = 0;
    for (int64_t i = 0; i < n; i++) sum[i] = 0;
    for (int64_t b = 0; b < r->list->blocks; from = r->list->ends[b++]) {
        FN(chain)(r, from, r->list->ends[b], j, n, part);
        for (int64_t i = 0; i < n; i++) sum[i] += part[i];
    }
}

/* Chains over contiguous parts, the first ones longer by one term; neighbours are added in pairs until one is left, an odd last
 * one passing on. */
static void FN(split)(const row *r, int64_t j, int64_t n, T *sum)
{
    T part[MAX_CHAINS][WIDTH];
    int64_t each = r->list->count / r->chains, longer = r->list->count % r->chains, from = 0;
    for (int c = 0; c < r->chains; c++) {
        int64_t to = from + each + (c < longer);
        FN(chain)(r, from, to, j, n, part[c]);
        from = to;
    }
    for (int left = r->chains; left > 1; left = (left + 1) / 2)
        for (int c = 0; c < left; c += 2)
            for (int64_t i = 0; i < n; i++) part[c / 2][i] = c + 1 < left ? part[c][i] + part[c + 1][i] : part[c][i];
    for (int64_t i = 0; i < n; i++) sum[i] = part[0][i];
}

/* One accumulator, separate multiply and add. */
INLINE void FN(loop_part)(const row *r, int64_t j, int64_t n, int64_t step, T *sum)
{
    T acc[WIDTH] = {0};
    for (int64_t t = 0; t < r->list->count; t++) {
        T s = ((const T *)r->a)[r->list->a[t]];
        const T *w = (const T *)r->b + r->list->b[t] + j * step;
        for (int64_t i = 0; i < n; i++) acc[i] = acc[i] + s * w[i * step];
    }
    for (int64_t i = 0; i < n; i++) sum[i] = acc[i];
}

CLONES static void FN(loop)(const row *r, int64_t j, int64_t n, T *sum)
{
    if (r->step == 1 && n == WIDTH) FN(loop_part)(r, j, WIDTH, 1, sum);
    else FN(loop_part)(r, j, n, r->step, sum);
}

/* np.sum over the rounded products (numpy/core/src/umath/loops_utils.h, pairwise_sum): below 8 terms in order; up to 128 terms
 * in 8 accumulators, added as a tree, the rest one by one; above, two halves, the first a multiple of 8. */
INLINE T FN(term)(const row *r, int64_t t, int64_t i)
{
    return ((const T *)r->a)[r->list->a[t]] * ((const T *)r->b)[r->list->b[t] + i * r->step];
}

CLONES static void FN(course_leaf)(const row *r, int64_t from, int64_t count, int64_t j, int64_t n, T *sum)
{
    T acc[8][WIDTH];
    int64_t whole = count - count % 8, t = 0;
    if (count < 8) {
        for (int64_t i = 0; i < n; i++) sum[i] = 0;
    } else {
        for (; t < 8; t++)
            for (int64_t i = 0; i < n; i++) acc[t][i] = FN(term)(r, from + t, j + i);
        for (; t < whole; t++)
            for (int64_t i = 0; i < n; i++) acc[t % 8][i] += FN(term)(r, from + t, j + i);
        for (int64_t i = 0; i < n; i++)
            sum[i] = ((acc[0][i] + acc[1][i]) + (acc[2][i] + acc[3][i])) + ((acc[4][i] + acc[5][i]) + (acc[6][i] + acc[7][i]));
    }
    for (; t < count; t++)
        for (int64_t i = 0; i < n; i++) sum[i] += FN(term)(r, from + t, j + i);
}

static void FN(course)(const row *r, int64_t from, int64_t count, int64_t j, int64_t n, T *sum)
{
    T right[WIDTH];
    int64_t half = count / 2 - count / 2 % 8;
    if (count <= 128) {
        FN(course_leaf)(r, from, count, j, n, sum);
        return;
    }
    FN(course)(r, from, half, j, n, sum);
    FN(course)(r, from + half, count - half, j, n, right);
    for (int64_t i = 0; i < n; i++) sum[i] += right[i];
}

static void FN(sum)(const row *r, cg_order order, int64_t j, int64_t n, T *sum)
{
    if (order == CG_LOOP) FN(loop)(r, j, n, sum);
    else if (order == CG_COURSE) FN(course)(r, 0, r->list->count, j, n, sum);
    else if (r->list->blocks > 1) FN(blocks)(r, j, n, sum);
    else if (r->chains > 1) FN(split)(r, j, n, sum);
    else FN(chain)(r, 0, r->list->count, j, n, sum);
}

INLINE void FN(exact_part)(const row *r, int64_t j, int64_t n, int64_t step, pairs *sums)
{
    pairs acc = {0};
    for (int64_t t = 0; t < r->list->count; t++) {
        T s = ((const T *)r->a)[r->list->a[t]];
        const T *w = (const T *)r->b + r->list->b[t] + j * step;
        for (int64_t i = 0; i < n; i++) {
            EXACT_ADD(s, w[i * step], acc.high[i], acc.low[i]);
            acc.magnitude[i] += fabs((double)s * (double)w[i * step]);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        sums->high[i] = acc.high[i];
        sums->low[i] = acc.low[i];
        sums->magnitude[i] = acc.magnitude[i];
    }
}

CLONES static void FN(exact)(const row *r, int64_t j, int64_t n, pairs *sums)
{
    if (r->step == 1 && n == WIDTH) FN(exact_part)(r, j, WIDTH, 1, sums);
    else FN(exact_part)(r, j, n, r->step, sums);
}

/* Bias, activation, residual before or after it, of n outputs from `channel` on; output i is element + i * stride of dst. */
static void FN(finish)(const convgen_problem *p, const cg_operands *o, int64_t channel, int64_t element, int64_t stride,
                       int64_t n, T *y)
{
    const convgen_epilogue *e = &p->epilogue;
    if (p->pass != CONVGEN_FORWARD) return;
    if (p->bias)
        for (int64_t i = 0; i < n; i++) y[i] += ((const T *)o->bias)[channel + i];
    if (e->residual && !e->residual_last)
        for (int64_t i = 0; i < n; i++) y[i] += ((const T *)o->residual)[element + i * stride];
    cg_activate(e, p->type, e->activation == CONVGEN_PRELU ? (const T *)o->slope + channel : NULL, n, y);
    if (e->residual_last)
        for (int64_t i = 0; i < n; i++) y[i] += ((const T *)o->residual)[element + i * stride];
}

/* n outputs at once: the sums, the epilogue, and each to its place. */
static void FN(put)(const convgen_problem *p, const cg_operands *o, const wanted *w, const row *r, int64_t j, const piece *at)
{
    T y[WIDTH];
    FN(sum)(r, w->order, j, at->n, y);
    FN(finish)(p, o, at->channel, at->element, at->stride, at->n, y);
    for (int64_t i = 0; w->old && i < at->n; i++) y[i] += ((const T *)w->old)[at->element + i * at->stride];
    for (int64_t i = 0; i < at->n; i++) ((T *)w->out)[at->element + i * at->stride - w->first] = y[i];
}

static void FN(copy_line)(void *to, const void *from, int64_t count, int64_t stride)
{
    for (int64_t i = 0; i < count; i++) ((T *)to)[i] = ((const T *)from)[i * stride];
}

static const T FN(one) = 1;
