/* What the configuration reader needs of settings: reading a libconfig block against option tables,
 * and printing what was read.
 *
 * Ranges: `min` and `max` of an option both 0 mean no check; a `max` below `min` means no upper bound.
 * Defaults: AS_OPT_STRINGS take one item, or "[ a, b ]"; AS_OPT_GROUP "{}" stands for an empty block;
 * AS_OPT_MAP and AS_OPT_LIST have none. An AS_OPT_GROUP without `sub` is only checked to be a block: its
 * tables are known to the reader of the configuration. */
#ifndef CONFIG_SETTINGS_INTERNAL_H
#define CONFIG_SETTINGS_INTERNAL_H

#include <libconfig.h>
#include <stdio.h>

#include "autoscale/settings.h"
#include "problems.h"

struct settings_value {
    bool set;         /* given or defaulted                                                        */
    bool given;       /* written in the file                                                       */
    const char *file; /* of a given value; borrowed from the scope's file names                    */
    int line;
    char *text;       /* string-like types                                                         */
    bool flag;
    int64_t integer;  /* AS_OPT_INT, AS_OPT_DURATION                                               */
    uint64_t bytes;
    double number;    /* AS_OPT_NUMBER, AS_OPT_PERCENT                                             */
    char **keys;      /* AS_OPT_MAP                                                                */
    char **items;     /* AS_OPT_STRINGS, AS_OPT_MAP                                                */
    struct as_settings **subs;
    size_t count;     /* of items or subs                                                          */
};

struct as_settings {
    const struct as_option *options; /* borrowed: static                                           */
    size_t option_count;
    struct settings_value *values;   /* one per option                                             */
    const char *file;                /* place of the block; borrowed from the scope's file names   */
    int line;
    char *path;                      /* "" or "steps #2: ": leads the text of as_settings_fail     */
};

/* Where problems go and what they are called. `file_name` maps the name libconfig knows (NULL for the
 * text itself) to one that lives as long as the settings. */
struct settings_scope {
    struct cfg_problems *problems;
    const char *where; /* "group 'web': compute (docker): ", leads every text                      */
    const char *(*file_name)(void *arg, const char *included);
    /* Where an option belongs that the block of table `here` has not, as "'compute' or 'health'" into buf; "" when
     * it is not known. NULL: nobody to ask. */
    void (*home)(void *arg, const struct as_option *here, const char *option, char *buf, size_t size);
    void *arg;
};

/* Reads `block` against several tables at once: each option goes to the table that has it, outs[i]
 * gets those of tables[i] (ended by a NULL table). All problems are added. AS_OK; AS_EINVAL: outs are there, wrong
 * values are their defaults; AS_ENOMEM: outs are untouched. */
int settings_read(const struct settings_scope *scope, const config_setting_t *block,
                  const struct as_option *const *tables, struct as_settings **outs);

/* Empty settings of a table, nothing set; NULL: out of memory. */
struct as_settings *settings_new(const struct as_option *table, const char *path);

/* Can the secret be read, and by nobody else? Its content is not looked at. */
int settings_secret_check(const char *path, struct as_error *err);

/* Index of the option, or -1. */
int settings_index(const struct as_settings *s, const char *name);
/* True when the user wrote it. */
bool settings_given(const struct as_settings *s, const char *name);
/* Line of the option, of the block when it was not given; and the file of a line of this block. */
int settings_line(const struct as_settings *s, const char *name);
const char *settings_file(const struct as_settings *s, int line);

/* One line per value that differs from its default, in table order, skipping the names of `except` (ends
 * with NULL; may be NULL). Equal values give equal text, however they were written. */
void settings_canon(FILE *out, const struct as_settings *s, const char *const *except);
/* A value as it would be written in the file; "" when unset. */
void settings_value_print(FILE *out, const struct as_option *option, const struct settings_value *value);
bool settings_value_equal(const struct as_option *option, const struct settings_value *a,
                          const struct settings_value *b);

/* The default of an option as a value (to be cleared), unset when there is none. AS_OK or AS_ENOMEM. */
int settings_default(const struct as_option *option, struct settings_value *out);
void settings_value_clear(struct settings_value *value);

/* Room for `count` texts (with keys, for a map), and one more of them, copied. AS_OK or AS_ENOMEM. */
int settings_texts_new(struct settings_value *v, size_t count, bool keys);
int settings_texts_add(struct settings_value *v, const char *key, const char *item);

/* NULL, or what is wrong with the text of a quantity; fills the value. */
const char *settings_quantity(const struct as_option *option, const char *text, struct settings_value *value);
/* "duration", "bytes", ...: for documentation. */
const char *settings_type_name(enum as_option_type type);
/* "(100ms to 1h)", "(at least 1)" or "" into buf, which holds 128 bytes. */
const char *settings_range_text(const struct as_option *option, char *buf);
bool settings_in_range(const struct as_option *option, const struct settings_value *value);

#endif
