/* reference.h: what an operation of a network is, in plain loops. */
#ifndef CONVGEN_REFERENCE_H
#define CONVGEN_REFERENCE_H

#include "generate/generate.h"

/* The operation on data, each slot's first element: computed in double from what the views say, rounded once to the result's type (which may
 * be another than a kernel's: f64). Nothing between the result's elements is written. CONVGEN_UNSUPPORTED: no such operation, or its
 * attributes do not fit its views. */
cg_status cg_operation_reference(const cg_operation *o, void *const data[CG_SLOTS]);
/* Bytes from a view's first element to behind its last one. */
size_t cg_view_bytes(const cg_view *v);
size_t cg_view_element(const cg_view *v);
/* Steps to the next index of dims, last fastest; false behind the last one, where it is all zero again. */
bool cg_next_index(const cg_view *v, int64_t index[CG_RANK]);
int64_t cg_view_at(const cg_view *v, const int64_t index[CG_RANK]);
double cg_view_get(const cg_view *v, const void *data, const int64_t index[CG_RANK]);
void cg_view_put(const cg_view *v, void *data, const int64_t index[CG_RANK], double value);

#endif
