/* reference.c: the operations of a network that are no convolutions, in plain loops over views.
 *
 * One row an operation. All is computed in double, sums one after another; NaN is kept by max, min and everything built on them, and
 * argmax's is the first NaN. What attributes an operation has stands in gen/network/kernels.lua. The text is that of emitted self-checks. */
#include "network/reference.h"
#include <math.h>
#include <string.h>

#include "../../templates/operations.c.in"
