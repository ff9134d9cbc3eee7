/* A change of the instance count as cloud step scaling writes it: "+2", "-1", "+10%", "=5", "0".
 * Integer arithmetic throughout, so that a percentage never rounds by binary accident. */
#ifndef POLICIES_CHANGE_H
#define POLICIES_CHANGE_H

#include <stdbool.h>

enum change_kind { CHANGE_COUNT, CHANGE_PERCENT, CHANGE_EXACT };

struct change {
    enum change_kind kind;
    int amount; /* instances; for CHANGE_PERCENT thousandths of a percent */
};

/* False when the text is none of the forms. Percentages take up to three decimals; a relative change
 * other than 0 needs its sign. */
bool change_parse(const char *text, struct change *out);

/* -1 shrinks, 1 grows, 0 neither (0 or an exact count). */
int change_sign(const struct change *c);

/* The count after the change of `base`, never below 0. A percentage of more than one instance is cut
 * toward 0, of less than one is one; `min_change` is the least a percentage other than 0 does. */
int change_apply(const struct change *c, int base, int min_change);

#endif
