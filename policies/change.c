/* Changes of the instance count: reading and applying them. Must never turn text it does not wholly
 * understand into a number. */
#include "change.h"
#include "common.h"

#define MILLI 1000 /* of a percent */

/* Reads digits at *p; false when there is none or the number is over POLICY_COUNT_MAX. */
static bool read_digits(const char **p, int *out)
{
    int n = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        n = n * 10 + (**p - '0');
        if (n > POLICY_COUNT_MAX)
            return false;
    }
    *out = n;
    return *p > start;
}

static bool read_thousandths(const char **p, int *out)
{
    *out = 0;
    if (**p != '.')
        return true;
    ++*p;
    int digits = 0;
    for (; **p >= '0' && **p <= '9'; ++*p, digits++) {
        if (digits == 3)
            return false;
        *out = *out * 10 + (**p - '0');
    }
    for (int i = digits; i < 3; i++)
        *out *= 10;
    return digits > 0;
}

bool change_parse(const char *text, struct change *out)
{
    const char *p = text;
    char sign = *p == '+' || *p == '-' || *p == '=' ? *p++ : '\0';
    struct change c = { .kind = sign == '=' ? CHANGE_EXACT : CHANGE_COUNT };
    int fraction;
    if (!read_digits(&p, &c.amount) || !read_thousandths(&p, &fraction))
        return false;
    if (*p == '%' && sign != '=' && c.amount <= POLICY_COUNT_MAX / MILLI) {
        c.kind = CHANGE_PERCENT;
        c.amount = c.amount * MILLI + fraction;
        p++;
    } else if (fraction || p[-1] < '0' || p[-1] > '9') {
        return false;
    }
    if (*p || (!sign && c.amount != 0))
        return false;
    if (sign == '-')
        c.amount = -c.amount;
    *out = c;
    return true;
}

int change_sign(const struct change *c)
{
    return c->kind == CHANGE_EXACT ? 0 : (c->amount > 0) - (c->amount < 0);
}

static int64_t percent_of(int base, int milli_percent, int min_change)
{
    int64_t whole = (int64_t)base * milli_percent / (100 * MILLI); /* C cuts toward 0 */
    int64_t sign = (milli_percent > 0) - (milli_percent < 0);
    int64_t least = min_change > 1 ? min_change : 1; /* also of 0: a group at 0 can start */
    return sign * whole < least ? sign * least : whole;
}

int change_apply(const struct change *c, int base, int min_change)
{
    switch (c->kind) {
    case CHANGE_EXACT: return c->amount;
    case CHANGE_PERCENT: return policy_clamp(base + percent_of(base, c->amount, min_change));
    case CHANGE_COUNT: break;
    }
    return policy_clamp((int64_t)base + c->amount);
}
