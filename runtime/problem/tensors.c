/* tensors.c: which tensor is what in which pass, and how large. The one place that says it. */
#include "problem/problem.h"
#include <string.h>

static const char *const names[CG_TENSORS] = {"src", "weights", "bias", "dst", "residual", "slope"};

/* By pass: what each tensor is, where the problem has it; the result that is no gradient of a bias, and the input that is no weights. */
static const struct pass_row {
    cg_role role[CG_TENSORS];
    int output, data;
} passes[] = {
    /*                               src        weights    bias       dst        residual   slope */
    [CONVGEN_FORWARD] =          {{CG_INPUT,  CG_INPUT,  CG_INPUT,  CG_RESULT, CG_INPUT,  CG_INPUT},  CG_DST,     CG_SRC},
    [CONVGEN_BACKWARD_DATA] =    {{CG_RESULT, CG_INPUT,  CG_ABSENT, CG_INPUT,  CG_ABSENT, CG_ABSENT}, CG_SRC,     CG_DST},
    [CONVGEN_BACKWARD_WEIGHTS] = {{CG_INPUT,  CG_RESULT, CG_RESULT, CG_INPUT,  CG_ABSENT, CG_ABSENT}, CG_WEIGHTS, CG_SRC},
};

const char *cg_tensor_name(int tensor) { return names[tensor]; }

/* All have the problem's, so far. */
convgen_type cg_tensor_type(const convgen_problem *p, int tensor)
{
    (void)tensor;
    return p->type;
}

size_t cg_element(const convgen_problem *p, int tensor) { return cg_types[cg_tensor_type(p, tensor)].bytes; }

void cg_roles(const convgen_problem *p, cg_role role_of[CG_TENSORS])
{
    memcpy(role_of, passes[p->pass].role, sizeof passes[0].role);
    if (!p->bias) role_of[CG_BIAS] = CG_ABSENT;
    if (!p->epilogue.residual) role_of[CG_RESIDUAL] = CG_ABSENT;
    if (p->epilogue.activation != CONVGEN_PRELU) role_of[CG_SLOPE] = CG_ABSENT;
}

cg_pixels cg_tensor_pixels(const convgen_problem *p, int tensor)
{
    cg_sizes s = cg_problem_sizes(p);
    const struct {
        int64_t elements, channels, stride;
    } rows[CG_TENSORS] = {{s.src, p->in_channels, p->src_pixel_stride},    {s.weights, 0, 0}, {s.bias, 0, 0},
                          {s.dst, p->out_channels, p->dst_pixel_stride},   /* the residual stands as dst does */
                          {s.dst, p->out_channels, p->dst_pixel_stride},   {s.bias, 0, 0}};
    size_t element = cg_element(p, tensor);
    if (!rows[tensor].stride) return (cg_pixels){1, (size_t)rows[tensor].elements * element, 0};
    return (cg_pixels){rows[tensor].elements / rows[tensor].channels, (size_t)rows[tensor].channels * element,
                       (size_t)rows[tensor].stride * element};
}

void cg_tensor_bytes(const convgen_problem *p, size_t bytes[CG_TENSORS])
{
    for (int i = 0; i < CG_TENSORS; i++) {
        cg_pixels pixels = cg_tensor_pixels(p, i);
        bytes[i] = (size_t)(pixels.count - 1) * pixels.apart + pixels.bytes;
    }
}

convgen_problem cg_problem_dense(const convgen_problem *p)
{
    convgen_problem dense = *p;
    dense.src_pixel_stride = dense.dst_pixel_stride = 0;
    return dense;
}

int cg_output_count(const convgen_problem *p) { return 1 + (p->bias && passes[p->pass].role[CG_BIAS] == CG_RESULT); }
int cg_output_tensor(const convgen_problem *p, bool bias) { return bias ? CG_BIAS : passes[p->pass].output; }
convgen_type cg_output_type(const convgen_problem *p, bool bias) { return cg_tensor_type(p, cg_output_tensor(p, bias)); }

/* A transposed convolution's src is the dst of its dual. */
int cg_dual_tensor(const convgen_problem *p, int tensor)
{
    if (p->op != CONVGEN_TRANSPOSED) return tensor;
    return tensor == CG_SRC ? CG_DST : tensor == CG_DST ? CG_SRC : tensor;
}

int cg_data_tensor(const convgen_problem *p) { return cg_dual_tensor(p, passes[cg_dual(p).pass].data); }
