/* Formulas from foreign bytes: parse, and evaluate what parses. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../controller/model/formula.h"
#include "../../controller/model/series.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512];
    struct formula f;
    size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, n);
    text[n] = '\0';
    if (formula_parse(text, &f, NULL) != AS_OK)
        return 0;
    struct as_series *s = series_new("x", 8, 1000);
    const struct as_series *in[FORMULA_METRICS];
    for (int k = 0; k < FORMULA_METRICS; k++)
        in[k] = s;
    series_push(s, 1, 3, false);
    series_push(s, 900, 5, false);
    struct as_reading r = formula_eval(&f, in, 1000);
    if (r.fresh == AS_FRESH && !isfinite(r.value))
        abort();
    series_free(s);
    return 0;
}
