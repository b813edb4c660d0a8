/* error.c: statuses and sentences. A sentence belongs to the thread that met the error. */
#include "base/base.h"

#include <string.h>

static _Thread_local char error_text[1024];
static _Thread_local cg_status error_status;

cg_status cg_fail(cg_status status, const char *format, ...)
{
    char text[sizeof error_text]; /* an argument may be the present sentence */
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    memcpy(error_text, text, sizeof text);
    error_status = status;
    return status;
}

const char *cg_error_text(void)
{
    return error_text;
}

cg_status cg_error_status(void)
{
    return error_status;
}

cg_status cg_fail_at(cg_status status, const char *place)
{
    return cg_fail(status, "%s: %s", place, error_text);
}

const char *convgen_error(const convgen_context *context_or_null)
{
    (void)context_or_null;
    return error_text;
}

const char *convgen_status_text(convgen_status status)
{
    static const char *const texts[] = {
        [CONVGEN_OK] = "ok",
        [CONVGEN_BAD_ARGUMENT] = "bad argument",
        [CONVGEN_BAD_PROBLEM] = "bad problem",
        [CONVGEN_UNSUPPORTED] = "unsupported",
        [CONVGEN_NO_MEMORY] = "out of memory",
        [CONVGEN_NO_RECORD] = "no record",
        [CONVGEN_NO_CANDIDATE] = "no schedule survived",
        [CONVGEN_NO_EXEC] = "executable memory refused",
        [CONVGEN_STORE] = "store cannot be used",
        [CONVGEN_CANCELLED] = "cancelled",
        [CONVGEN_COMPILER] = "compiler failed",
        [CONVGEN_INTERNAL] = "internal error",
    };
    size_t n = (size_t)status;
    return n < sizeof texts / sizeof *texts ? texts[n] : "unknown status";
}
