/* slices.c: tensors that are slices of the channels of wider ones, and outputs that are added to what was there: a reference is given dense
 * operands, and these make of them what a kernel is given, and of its answer a dense one.
 *
 * A tensor that is no slice is the same memory in both. Nothing is judged here. */
#include "check/check.h"
#include <string.h>

/* The words from `from` to `to`; elements are whole words. */
static bool all_words(const char *from, const char *to, uint32_t word)
{
    for (; from < to; from += sizeof word)
        if (memcmp(from, &word, sizeof word) != 0) return false;
    return true;
}

static void put_words(char *from, const char *to, uint32_t word)
{
    for (; from < to; from += sizeof word) memcpy(from, &word, sizeof word);
}

static void spread(cg_pixels s, const char *dense, char *wide, uint32_t between)
{
    for (int64_t i = 0; i < s.count; i++, dense += s.bytes, wide += s.apart) {
        memcpy(wide, dense, s.bytes);
        if (i + 1 < s.count) put_words(wide + s.bytes, wide + s.apart, between);
    }
}

bool cg_is_slice(const convgen_problem *p, int tensor) { return cg_tensor_pixels(p, tensor).apart; }

void cg_slices_put(const convgen_problem *p, const cg_operands *dense, const cg_operands *given, uint32_t between)
{
    cg_role role[CG_TENSORS];
    cg_roles(p, role);
    for (int i = 0; i < CG_TENSORS; i++)
        if (role[i] != CG_ABSENT && cg_is_slice(p, i)) spread(cg_tensor_pixels(p, i), dense->at[i], given->at[i], between);
}

/* false: something else is there. */
static bool take(cg_pixels s, const char *wide, char *dense, bool result, uint32_t between)
{
    for (int64_t i = 0; i < s.count; i++, dense += s.bytes, wide += s.apart) {
        if (i + 1 < s.count && !all_words(wide + s.bytes, wide + s.apart, between)) return false;
        if (result) memcpy(dense, wide, s.bytes);
        else if (memcmp(dense, wide, s.bytes) != 0) return false;
    }
    return true;
}

int cg_slices_take(const convgen_problem *p, const cg_operands *given, const cg_operands *dense, uint32_t between)
{
    cg_role role[CG_TENSORS];
    cg_roles(p, role);
    for (int i = 0; i < CG_TENSORS; i++) {
        if (role[i] == CG_ABSENT || !cg_is_slice(p, i)) continue;
        if (!take(cg_tensor_pixels(p, i), given->at[i], dense->at[i], role[i] == CG_RESULT, between)) return i;
    }
    return -1;
}

void cg_old_put(const convgen_problem *p, const cg_operands *dense)
{
    size_t bytes[CG_TENSORS];
    convgen_problem d = cg_problem_dense(p);
    cg_tensor_bytes(&d, bytes);
    for (int i = 0; i < cg_output_count(p) && p->accumulate; i++) {
        int tensor = cg_output_tensor(p, i);
        memcpy(dense->at[tensor], dense->old[i], bytes[tensor]);
    }
}
