/* contract.c: the layout of convgen.h's structs, which programs outside, and the Python package, are compiled against.
 *
 * A size or a place that changes stops the build. A new field fills a hole, or stands last: in convgen_epilogue there is one of two bytes
 * after `residual_last`; in convgen_problem one of four bytes after `weights`, of seven after `bias`, of three after `accumulate`;
 * convgen_tensors grows behind `slope`, by pointers that are read only where a plan needs them; what has a struct_size grows at its end. */
#include "convgen.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has " #bytes " bytes");
#define AT(type, field, place) _Static_assert(offsetof(type, field) == (place), #type "." #field " stands at " #place);

#if UINTPTR_MAX > UINT32_MAX /* where pointers have 64 bits */

SIZE(convgen_epilogue, 24)
AT(convgen_epilogue, residual, 0) AT(convgen_epilogue, residual_last, 1) AT(convgen_epilogue, activation, 4) AT(convgen_epilogue, lo, 8) AT(convgen_epilogue, hi, 16)

SIZE(convgen_problem, 256)
AT(convgen_problem, pass, 0) AT(convgen_problem, type, 4) AT(convgen_problem, layout, 8) AT(convgen_problem, accuracy, 12)
AT(convgen_problem, weights, 16) AT(convgen_problem, batch, 24) AT(convgen_problem, groups, 32)
AT(convgen_problem, in_channels, 40) AT(convgen_problem, out_channels, 48) AT(convgen_problem, in, 56)
AT(convgen_problem, out, 80) AT(convgen_problem, kernel, 104) AT(convgen_problem, stride, 128)
AT(convgen_problem, dilation, 152) AT(convgen_problem, pad, 176) AT(convgen_problem, bias, 200)
AT(convgen_problem, epilogue, 208) AT(convgen_problem, src_pixel_stride, 232) AT(convgen_problem, dst_pixel_stride, 240)
AT(convgen_problem, accumulate, 248) AT(convgen_problem, op, 252)

SIZE(convgen_options, 56)
AT(convgen_options, struct_size, 0) AT(convgen_options, threads, 8) AT(convgen_options, target, 16)
AT(convgen_options, store, 24) AT(convgen_options, parallel_for, 32) AT(convgen_options, progress, 40)
AT(convgen_options, user, 48)

AT(convgen_tensors, src, 0) AT(convgen_tensors, weights, 8) AT(convgen_tensors, bias, 16) AT(convgen_tensors, dst, 24)
AT(convgen_tensors, residual, 32) AT(convgen_tensors, packed, 40) AT(convgen_tensors, workspace, 48)
AT(convgen_tensors, slope, 56)

SIZE(convgen_info, 136)
AT(convgen_info, problem, 0) AT(convgen_info, family, 8) AT(convgen_info, schedule, 16) AT(convgen_info, form, 24)
AT(convgen_info, compiler, 32) AT(convgen_info, target, 40) AT(convgen_info, threads, 48) AT(convgen_info, ns_min, 56)
AT(convgen_info, ns_median, 64) AT(convgen_info, error_normwise, 72) AT(convgen_info, error_vs_loop, 80)
AT(convgen_info, error_vs_bound, 88) AT(convgen_info, recalled, 96) AT(convgen_info, candidates, 100)
AT(convgen_info, refused, 104) AT(convgen_info, seconds, 112) AT(convgen_info, warning, 120) AT(convgen_info, complete, 128)

SIZE(convgen_figures, 32)
AT(convgen_figures, ulp_max, 0) AT(convgen_figures, ulp_mean, 8) AT(convgen_figures, normwise, 16)
AT(convgen_figures, of_bound, 24)

SIZE(convgen_errors, 288)
AT(convgen_errors, struct_size, 0) AT(convgen_errors, outputs, 8) AT(convgen_errors, terms, 16) AT(convgen_errors, plan, 24)
AT(convgen_errors, loop, 56) AT(convgen_errors, course, 88) AT(convgen_errors, has_bias_gradient, 120)
AT(convgen_errors, bias_outputs, 128) AT(convgen_errors, bias_terms, 136) AT(convgen_errors, bias_plan, 144)
AT(convgen_errors, bias_loop, 176) AT(convgen_errors, bias_course, 208) AT(convgen_errors, budget, 240)
AT(convgen_errors, vs_loop, 248)

SIZE(convgen_network_options, 32)
AT(convgen_network_options, struct_size, 0) AT(convgen_network_options, effort, 8) AT(convgen_network_options, seconds, 16)
AT(convgen_network_options, accuracy, 24)

SIZE(convgen_port, 80)
AT(convgen_port, name, 0) AT(convgen_port, type, 8) AT(convgen_port, rank, 12) AT(convgen_port, dims, 16)

#endif

_Static_assert(sizeof(convgen_pass) == sizeof(int) && sizeof(convgen_type) == sizeof(int) && sizeof(convgen_layout) == sizeof(int)
               && sizeof(convgen_accuracy) == sizeof(int) && sizeof(convgen_weights) == sizeof(int) && sizeof(convgen_activation) == sizeof(int)
               && sizeof(convgen_op) == sizeof(int),
               "enumerations are as large as int");
