/* Reads tables whose first line names the columns: HAProxy's statistics (",") and server states (" ").
 *
 * A reader walks a text it borrows and copies nothing: a field is a view into that text, valid as long
 * as the text. Columns are found by name, so their order and number do not matter; a column that
 * the table does not have, or a row too short for it, gives an empty field. A field may be quoted
 * ("a,b"); the view is then what lies between the quotes, with doubled quotes left doubled.
 * Any bytes may come; the text need not end with NUL. */
#ifndef WIRE_CSV_H
#define WIRE_CSV_H

#include <stdbool.h>
#include <stddef.h>

#define CSV_COLUMNS_MAX 512 /* columns of a table; further ones are not seen */

struct csv_field {
    const char *text; /* never NULL */
    size_t len;
};

struct csv {
    const char *at, *end;
    size_t columns, wanted;
    char separator;
    short slot[CSV_COLUMNS_MAX]; /* which wanted column this column is, or -1 */
};

/* Reads the header: the first line that begins with "# ". `wanted` has `count` (< CSV_COLUMNS_MAX) names.
 * False when there is no header, or when it lacks wanted[0], the column every row must have. */
bool csv_open(struct csv *c, const char *text, size_t len, char separator, const char *const *wanted,
              size_t count);

/* The next row: fields[i] is the column wanted[i]. Rows with an empty wanted[0] are passed over. */
bool csv_next(struct csv *c, struct csv_field *fields);

bool csv_is(struct csv_field f, const char *text);
bool csv_starts(struct csv_field f, const char *text);
/* A plain decimal number ("12", "-1", "0.5"); anything else, also an empty field, is false. */
bool csv_number(struct csv_field f, double *out);
/* Copies with a NUL; false, and buf untouched, when it does not fit, is empty or holds control bytes. */
bool csv_copy(struct csv_field f, char *buf, size_t size);

#endif
