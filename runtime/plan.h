/* plan.h: record -> run. The top of the library: who includes it sees all of the inside. */
#ifndef CONVGEN_PLAN_H
#define CONVGEN_PLAN_H

#include "search/search.h"

/* ---- plan.c ------------------------------------------------------------------------------------------------------ */

/* A plan for a known schedule, unverified: what records and tests use. */
cg_status cg_plan_for(convgen_context *c, const cg_outcome *outcome, const convgen_problem *p, convgen_plan **out);
/* As convgen_plan_create, for a convolution of a network: what was timed under its conditions comes first, and so is timed. */
cg_status cg_plan_create_for_network(convgen_context *c, const convgen_problem *p, convgen_effort effort, double seconds, convgen_plan **out);
const cg_kernel *cg_plan_kernel(const convgen_plan *plan);
const cg_parallel *cg_plan_parallel(const convgen_plan *plan);

#endif
