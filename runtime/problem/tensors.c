/* tensors.c: which tensor is what in which pass, and how large. */
#include "problem/problem.h"
#include <string.h>

void cg_roles(const convgen_problem *p, cg_role role_of[CG_TENSORS])
{
    static const cg_role of_pass[3][CG_TENSORS] = {
        [CONVGEN_FORWARD] = {CG_INPUT, CG_INPUT, CG_INPUT, CG_RESULT, CG_INPUT},
        [CONVGEN_BACKWARD_DATA] = {CG_RESULT, CG_INPUT, CG_ABSENT, CG_INPUT, CG_ABSENT},
        [CONVGEN_BACKWARD_WEIGHTS] = {CG_INPUT, CG_RESULT, CG_RESULT, CG_INPUT, CG_ABSENT},
    };
    memcpy(role_of, of_pass[p->pass], sizeof of_pass[0]);
    if (!p->bias) role_of[CG_BIAS] = CG_ABSENT;
    if (!p->epilogue.residual) role_of[CG_RESIDUAL] = CG_ABSENT;
}

void cg_tensor_bytes(const convgen_problem *p, size_t bytes[CG_TENSORS])
{
    cg_sizes s = cg_problem_sizes(p);
    const int64_t count[CG_TENSORS] = {s.src, s.weights, s.bias, s.dst, s.dst};
    for (int i = 0; i < CG_TENSORS; i++) bytes[i] = (size_t)count[i] * s.element;
}

int cg_output_tensor(const convgen_problem *p, bool bias)
{
    static const int of_pass[3] = {CG_DST, CG_SRC, CG_WEIGHTS};
    return bias ? CG_BIAS : of_pass[p->pass];
}

int cg_data_tensor(const convgen_problem *p)
{
    return p->pass == CONVGEN_BACKWARD_DATA ? CG_DST : CG_SRC;
}
