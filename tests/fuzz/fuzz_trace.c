/* Trace files from foreign bytes. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../controller/sim/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace t;
    if (trace_parse("fuzz", (const char *)data, size, &t, NULL) != AS_OK)
        return 0;
    if (t.count > 100000) /* a huge gap: allowed, but slow to walk again and again */
        t.count = 100000;
    if (!isfinite(trace_at(&t, 1.5 * t.step_s, TRACE_STRAIGHT)) || trace_peak(&t) < 0)
        abort();
    trace_fini(&t);
    return 0;
}
