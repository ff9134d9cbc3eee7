/* The log: one event a line, "2026-11-23T20:00:00.123Z level component message key=value …" on standard error;
 * under systemd (JOURNAL_STREAM) without the time and with <N> priority prefixes. One writer thread:
 * the loop. Control bytes in texts are escaped. Never give it a secret. */
#ifndef RUNTIME_LOG_H
#define RUNTIME_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
bool log_shows(enum log_level level); /* spares the caller to word what nobody sees */
int log_parse_level(const char *name, enum log_level *out); /* 0, or -1 for an unknown name */
/* Tests and `simulate` capture or silence the log: NULL restores standard error. */
void log_set_sink(void (*sink)(void *arg, enum log_level level, const char *line), void *arg);

__attribute__((format(printf, 2, 3))) void log_error(const char *component, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void log_warning(const char *component, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void log_info(const char *component, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void log_debug(const char *component, const char *fmt, ...);

#endif
