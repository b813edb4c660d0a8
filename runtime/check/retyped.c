/* retyped.c: a problem and its inputs in another type, and outputs back: what is stored otherwise than it is computed.
 *
 * Limit: whole tensors are copied, however few outputs are wanted. */
#include "check/check.h"
#include <string.h>

enum { BLOCK = 512 }; /* elements at once */

void cg_retype(convgen_type from, const void *data, convgen_type to, void *out, int64_t count)
{
    double values[BLOCK];
    for (int64_t i = 0, n; i < count; i += n) {
        n = count - i < BLOCK ? count - i : BLOCK;
        cg_types[from].read(data, i, n, values);
        cg_types[to].write(out, i, n, values);
    }
}

static bool retype_input(cg_retyped *r, const convgen_problem *p, const cg_operands *o, int tensor)
{
    size_t bytes[CG_TENSORS];
    cg_tensor_bytes(&r->p, bytes);
    int64_t count = (int64_t)(bytes[tensor] / cg_element(&r->p, tensor));
    r->o.at[tensor] = cg_malloc(bytes[tensor]);
    if (r->o.at[tensor]) cg_retype(cg_tensor_type(p, tensor), o->at[tensor], cg_tensor_type(&r->p, tensor), r->o.at[tensor], count);
    return r->o.at[tensor];
}

cg_status cg_retyped_new(const convgen_problem *p, const cg_operands *o, convgen_type type, cg_retyped *r)
{
    cg_role role[CG_TENSORS];
    memset(r, 0, sizeof *r);
    r->p = *p;
    r->p.type = type;
    cg_roles(p, role);
    for (int i = 0; i < CG_TENSORS; i++) {
        if (role[i] != CG_INPUT || retype_input(r, p, o, i)) continue;
        cg_retyped_free(r);
        return cg_fail(CONVGEN_NO_MEMORY, "no memory for %s in %s", cg_tensor_name(i), cg_type_name(type));
    }
    return CONVGEN_OK;
}

void cg_retyped_free(cg_retyped *r)
{
    for (int i = 0; i < CG_TENSORS; i++) cg_free(r->o.at[i]);
    memset(&r->o, 0, sizeof r->o);
}
