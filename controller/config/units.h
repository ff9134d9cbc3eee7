/* Quantities as people write them, and back: the text of a value parses to the same value. */
#ifndef CONFIG_UNITS_H
#define CONFIG_UNITS_H

#include <stdbool.h>

#include "autoscale/time.h"

#define UNITS_TEXT_MAX 48

/* "500ms" "1.5s" "30s" "5m" "1h30m" "1d", units falling, a whole number of ms, at most 100 years. */
bool units_duration(const char *text, as_time *out);
/* "4096" "512MiB" "1.5GB": B kB MB GB TB (thousands), KiB MiB GiB TiB (1024); a whole number of bytes. */
bool units_bytes(const char *text, uint64_t *out);
/* "80%" "12.5%" gives a fraction. */
bool units_percent(const char *text, double *out);

/* Exact, short; return buf, which holds UNITS_TEXT_MAX bytes. */
const char *units_duration_text(as_time ms, char *buf);
const char *units_bytes_text(uint64_t bytes, char *buf);
const char *units_percent_text(double fraction, char *buf);
const char *units_number_text(double number, char *buf);

#endif
